"""Modality weights: similarity by features and by common users, against dense algebra."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bundle.csr import Csr
from models.config import ModelConfig
from models.graphs import edges, nearest_neighbours
from tests.support.data.planted_groups import planted_dataset
from training.data.dataset import Modality
from training.data.split import make_split
from training.fitting.config import FitConfig
from training.fitting.modality_weights import MIN_WEIGHT, agreement, co_interaction, weights
from training.fitting.model_factory import build_model


def random_train(
    seed: int = 0, n_users: int = 30, n_items: int = 12
) -> tuple[NDArray[np.bool_], Csr]:
    dense = np.random.default_rng(seed).random((n_users, n_items)) < 0.3
    dense[:, 3] = False  # an item without users
    rows, cols = np.nonzero(dense)
    return dense, Csr.from_pairs(rows, cols, n_users, n_items)


def agrees(train: Csr, neighbours: NDArray[np.integer[Any]]) -> float:
    """Agreement of neighbours [I, k] that are all alike."""
    idx = torch.from_numpy(neighbours)
    return agreement(co_interaction(train), *(x.numpy() for x in edges(idx, torch.ones(idx.shape))))


def test_agreement_is_the_ratio_of_mean_cosines_less_one() -> None:
    dense, train = random_train()
    columns = dense / np.maximum(dense.sum(1, keepdims=True), 1) ** 0.5
    unit = columns / np.maximum(np.linalg.norm(columns, axis=0), 1e-12)
    cosines = unit.T @ unit
    neighbours = np.random.default_rng(1).integers(-1, 12, (12, 4))
    neighbours[5] = -1
    pairs = [cosines[i, j] for i in range(12) for j in neighbours[i] if j >= 0 and j != i]
    among_all = cosines[~np.eye(12, dtype=bool)].mean()
    found = agrees(train, neighbours)
    assert found == pytest.approx(np.mean(pairs) / among_all - 1)


def test_all_items_as_neighbours_agree_by_chance_and_none_not_at_all() -> None:
    _, train = random_train()
    everybody = np.tile(np.arange(12), (12, 1))
    assert agrees(train, everybody) == pytest.approx(0)
    assert agrees(train, np.full((12, 3), -1)) == -1
    nobody = Csr.from_pairs(np.array([0, 1]), np.array([0, 1]), 2, 2)
    assert agrees(nobody, np.array([[1], [0]])) == -1


def test_weights_are_in_proportion_to_the_best() -> None:
    assert weights({"a": 9.0, "b": 3.0, "c": 0.1, "d": -1.0}) == pytest.approx(
        {"a": 1, "b": 1 / 3, "c": MIN_WEIGHT, "d": MIN_WEIGHT}
    )
    assert weights({"a": -0.5, "b": 0.0}) == {"a": 1, "b": 1}
    assert weights({}) == {}


def test_noise_has_a_small_weight_beside_an_informative_modality() -> None:
    dataset = planted_dataset()
    split = make_split(dataset, FitConfig().split, np.random.default_rng(0))
    rng = np.random.default_rng(7)
    good = next(iter(dataset.modalities.values()))
    noise = rng.standard_normal((len(dataset.items), 16)).astype(np.float32)
    modalities = {"good": good, "noise": Modality(noise, np.ones(len(noise), dtype=bool))}

    def built(**options: Any) -> Any:
        config = ModelConfig(dim=4, **options)
        generator = torch.Generator().manual_seed(0)
        return build_model(split.train, modalities, config, generator, torch.device("cpu"))

    by_agreement = [encoder.weight for encoder in built().encoders]
    assert by_agreement[0] == 1
    assert MIN_WEIGHT <= by_agreement[1] < 0.3
    assert [encoder.weight for encoder in built(modality_weights="equal").encoders] == [1, 1]
    features = torch.from_numpy(good.features)
    idx, _ = nearest_neighbours(features, torch.from_numpy(good.present), 10)
    assert agrees(split.train, idx.numpy()) > 0.3
