"""Weights of the modalities: who is alike by features and by users, against dense algebra."""

import numpy as np
import pytest
import torch
from planted import planted_dataset

from bundle.csr import Csr
from models.config import ModelConfig
from models.graphs import edges, nearest_neighbours
from training.agreement import LEAST, agreement, co_interaction, weights
from training.build import build_model
from training.config import FitConfig
from training.dataset import Modality
from training.split import make_split


def random_train(seed=0, n_users=30, n_items=12):
    dense = np.random.default_rng(seed).random((n_users, n_items)) < 0.3
    dense[:, 3] = False  # nobody had this one
    return dense, Csr.from_pairs(*np.nonzero(dense), n_users, n_items)


def agrees(train, neighbours):
    """Agreement of neighbours [I, k] that are all alike."""
    idx = torch.from_numpy(neighbours)
    return agreement(co_interaction(train), *(x.numpy() for x in edges(idx, torch.ones(idx.shape))))


def test_agreement_is_the_ratio_of_mean_cosines_less_one():
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


def test_neighbours_of_all_are_chance_and_none_is_no_agreement():
    _, train = random_train()
    everybody = np.tile(np.arange(12), (12, 1))
    assert agrees(train, everybody) == pytest.approx(0)
    assert agrees(train, np.full((12, 3), -1)) == -1
    nobody = Csr.from_pairs(np.array([0, 1]), np.array([0, 1]), 2, 2)
    assert agrees(nobody, np.array([[1], [0]])) == -1


def test_weights_are_in_proportion_to_the_best():
    assert weights({"a": 9.0, "b": 3.0, "c": 0.1, "d": -1.0}) == pytest.approx(
        {"a": 1, "b": 1 / 3, "c": LEAST, "d": LEAST}
    )
    assert weights({"a": -0.5, "b": 0.0}) == {"a": 1, "b": 1}
    assert weights({}) == {}


def test_noise_hardly_counts_beside_a_modality_that_says_something():
    dataset = planted_dataset()
    split = make_split(dataset, FitConfig().split, np.random.default_rng(0))
    rng = np.random.default_rng(7)
    good = next(iter(dataset.modalities.values()))
    noise = rng.standard_normal((len(dataset.items), 16)).astype(np.float32)
    modalities = {"good": good, "noise": Modality(noise, np.ones(len(noise), dtype=bool))}

    def built(**options):
        config = ModelConfig(dim=4, **options)
        generator = torch.Generator().manual_seed(0)
        return build_model(split.train, modalities, config, generator, torch.device("cpu"))

    by_agreement = [encoder.weight for encoder in built().encoders]
    assert by_agreement[0] == 1
    assert LEAST <= by_agreement[1] < 0.3
    assert [encoder.weight for encoder in built(modality_weights="equal").encoders] == [1, 1]
    features = torch.from_numpy(good.features)
    idx, _ = nearest_neighbours(features, torch.from_numpy(good.present), 10)
    assert agrees(split.train, idx.numpy()) > 0.3
