"""Bundles of other backbones, fusions and modalities."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bundle.format.reader import Bundle
from tests.support.data.planted_groups import planted_dataset
from tests.training.export.small_fit import PARTS, publish
from training.evaluation.bundle_evaluation import evaluate_bundle

pytestmark = pytest.mark.slow


def test_other_backbones_users_are_folded_in_by_a_fitted_map(tmp_path: Path) -> None:
    bundle, split, _ = publish(
        planted_dataset(), tmp_path, "model.backbone=lightgcn", "model.leave_one_out=false"
    )
    known = np.flatnonzero(split.train.lengths).tolist()
    cosines = []
    for user in known:
        history = np.array(bundle.item_vectors[split.train.row(user)])[None]
        ones = np.ones(history.shape[:2], np.float32)
        folded = bundle.user_encoder.encode(history, ones > 0, ones)[0, :-1]
        trained = bundle.user_vectors[user, :-1]
        cosines.append(folded @ trained / np.linalg.norm(folded) / np.linalg.norm(trained))
    assert np.mean(cosines) > 0.8


def part_scores(bundle: Bundle, users: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
    """Scores [B, I] of each part."""
    return {
        part.name: np.asarray(bundle.user_vectors[users, part.start : part.stop])
        @ np.asarray(bundle.item_parts[:, bundle.manifest.part_columns(number)]).T
        for number, part in enumerate(bundle.manifest.parts)
    }


@pytest.mark.parametrize("fusion", ["lines", "concat", "sum"])
def test_the_parts_of_a_score_add_up_to_it(tmp_path: Path, fusion: str) -> None:
    dataset = planted_dataset()
    more = (f"model.fusion={fusion}", "model.linear_columns=0", "optim.max_epochs=2")
    bundle, _, _ = publish(dataset, tmp_path, *more)
    assert [part.name for part in bundle.manifest.parts] == PARTS
    assert bundle.manifest.dim == {"lines": 17, "concat": 25, "sum": 9}[fusion]
    users = np.arange(30)
    parts = part_scores(bundle, users)
    scores = bundle.user_vectors[users] @ bundle.item_vectors.T
    np.testing.assert_allclose(sum(parts.values()), scores, atol=1e-5)
    assert all(np.abs(part).max() > 1e-3 for part in parts.values())
    absent = ~dataset.modalities["image"].present
    assert absent.any()
    assert not parts["image"][:, absent].any(), "an item has no part of a modality that it lacks"
    assert parts["text"][:, absent].any()


def test_a_modality_that_is_removed_has_no_part(tmp_path: Path) -> None:
    dataset = planted_dataset()
    dataset = replace(dataset, modalities={"text": dataset.modalities["text"]})
    bundle, _, _ = publish(dataset, tmp_path, "model.linear_columns=0", "optim.max_epochs=2")
    assert [part.name for part in bundle.manifest.parts] == ["behaviour", "text", "popularity"]


def test_data_without_features_make_a_bundle_too(tmp_path: Path) -> None:
    dataset = replace(planted_dataset(), modalities={})
    more = ("model.linear_columns=0", "optim.max_epochs=3")
    bundle, split, _ = publish(dataset, tmp_path, *more)
    assert bundle.manifest.modalities == {}
    assert bundle.item_encoder.encode({}, np.zeros((2, 0), np.bool_)).shape == (2, 9)
    assert evaluate_bundle(bundle, dataset, split.test, split.train).metrics["recall@20"] > 0


def test_a_modality_known_by_its_graph_alone_is_used_but_not_encoded(tmp_path: Path) -> None:
    dataset = planted_dataset()
    n_items = len(dataset.items)
    neighbours = (np.arange(n_items)[:, None] + [4, 8, 12]) % n_items
    graph = replace(
        dataset.modalities["text"],
        features=np.empty((n_items, 0), np.float32),
        neighbour_idx=neighbours.astype(np.int32),
        neighbour_cos=np.full((n_items, 3), 0.9, np.float32),
    )
    dataset = replace(dataset, modalities={"image": dataset.modalities["image"], "text": graph})
    bundle, _, _ = publish(dataset, tmp_path, "model.linear_columns=0", "optim.max_epochs=3")
    assert bundle.manifest.modalities == {"image": 8}
    assert [part.name for part in bundle.manifest.parts] == PARTS
