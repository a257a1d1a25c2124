"""The bundle of a fit, and its evaluation by the code that serves it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bundle.csr import Csr
from bundle.events.history import fold_in, same_history, weigh
from bundle.events.records import Event
from bundle.format.reader import Bundle
from bundle.ids import IdMap
from bundle.search.recommender import Recommender
from bundle.store.store import BundleStore
from models.drepmrec import DRepMRec
from tests.support.data.planted_groups import N_GROUPS, planted_dataset
from tests.training.export.small_fit import OPTIONS, PARTS, publish
from training.data.dataset import Dataset, Interactions
from training.data.split import Split
from training.evaluation.bundle_evaluation import evaluate_bundle
from training.export.export import fused_vectors, make_contents
from training.fitting.checkpoint import Progress
from training.fitting.config import RunOptions, load_config, stored_config
from training.fitting.ranking import evaluate_vectors

pytestmark = pytest.mark.slow

Fitted = tuple[Dataset, Bundle, Split, DRepMRec]
"""A data set, the bundle of a fit to it, the split, and the model."""


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    dataset = planted_dataset(n_users=120, n_items=90)
    bundle, split, model = publish(dataset, tmp_path_factory.mktemp("export"))
    return dataset, bundle, split, model


def test_the_bundle_holds_the_models_vectors(published: Fitted) -> None:
    dataset, bundle, split, model = published
    with torch.no_grad():
        vectors = model()
    np.testing.assert_allclose(bundle.item_vectors, vectors.items, atol=1e-6)
    known = split.train.lengths > 0
    np.testing.assert_allclose(bundle.user_vectors[known], vectors.users[known], atol=1e-6)
    assert not bundle.user_vectors[~known].any()
    assert not known.all(), "the data set should have a user without interactions"
    assert [part.name for part in bundle.manifest.parts] == PARTS
    assert bundle.manifest.modalities == {"image": 8, "text": 8}
    assert bundle.manifest.data_fingerprint == dataset.fingerprint
    assert stored_config(bundle) == load_config(None, OPTIONS)
    np.testing.assert_array_equal(bundle.popularity, split.train.column_counts())


def test_dislikes_count_as_they_do_as_events(published: Fitted, tmp_path: Path) -> None:
    dataset, _, split, model = published
    user, likes = 0, split.train.row(0)
    hated = np.flatnonzero(np.arange(len(dataset.items)) % N_GROUPS == 1).astype(np.int32)[:8]
    weights = np.full(len(hated), -1, np.float32)
    stranger = len(dataset.users) - 1  # who likes nothing
    who, what = np.repeat([stranger, user], len(hated)).astype(np.int32), np.tile(hated, 2)
    dislikes = Interactions(who, what, weight=np.tile(weights, 2))
    config = load_config(None, OPTIONS)
    progress = Progress()
    contents = make_contents(
        model, progress, replace(dataset, dislikes=dislikes), split, config, RunOptions(), None
    )
    store = BundleStore(tmp_path)
    store.publish(contents)
    bundle = store.load()
    events = [Event("u0", dataset.items[item], "view", 0, -1) for item in hated.tolist()]
    catalogue = Recommender(bundle).catalogue
    ones = np.ones(len(likes), np.float32)
    history, strengths = weigh(likes, ones, catalogue, events)
    assert same_history(bundle.history(user), (history, strengths))
    expected = fold_in(bundle, bundle.item_vectors[history], strengths)
    assert expected is not None
    np.testing.assert_allclose(bundle.user_vectors[user], expected, atol=1e-5)
    assert not bundle.user_vectors[stranger].any()
    assert bundle.history(stranger)[1].tolist() == weights.tolist()
    np.testing.assert_array_equal(bundle.popularity, split.train.column_counts())


def test_onnx_and_torch_agree(published: Fitted) -> None:
    _, bundle, _, _ = published
    differences = bundle.report["onnx_max_abs_difference"]
    assert set(differences) == {"item_encoder", "user_encoder"}
    assert max(differences.values()) < 1e-5


def test_evaluation_through_the_serving_code_is_that_of_the_fit(published: Fitted) -> None:
    dataset, bundle, split, model = published
    found = evaluate_bundle(bundle, dataset, split.valid, split.train)
    fused = fused_vectors(model, split)
    expected = evaluate_vectors(
        torch.from_numpy(fused.users), torch.from_numpy(fused.items), split.valid, split.train
    )
    assert found.metrics == pytest.approx(expected)
    assert bundle.report["valid"] == pytest.approx(expected)
    users = np.count_nonzero(split.valid.lengths)
    assert bundle.report["valid_users"] == {"evaluated": users, "of": users}
    assert found.unknown_users == found.unknown_items == 0


def test_evaluation_follows_ids_not_rows(published: Fitted) -> None:
    """The same data in another order, with a user and an item that the bundle does not know."""
    dataset, bundle, split, _ = published
    n_users, n_items = len(dataset.users), len(dataset.items)
    users, items = np.random.default_rng(1).permutation(n_users), np.arange(n_items)[::-1]
    new_user, new_item = n_users, n_items
    other = replace(
        dataset,
        users=IdMap([*(dataset.users[u] for u in users.tolist()), "stranger"], "user_id"),
        items=IdMap([*(dataset.items[i] for i in items.tolist()), "novelty"], "item_id"),
    )

    def moved(matrix: Csr, extra: list[tuple[int, int]]) -> Csr:
        old_rows, old_cols = matrix.pairs()
        rows = np.append(np.argsort(users)[old_rows], [u for u, _ in extra]).astype(np.int64)
        cols = np.append(np.argsort(items)[old_cols], [i for _, i in extra]).astype(np.int64)
        return Csr.from_pairs(rows, cols, n_users + 1, n_items + 1)

    as_it_was = evaluate_bundle(bundle, dataset, split.test, split.train)
    same = evaluate_bundle(bundle, other, moved(split.test, []), moved(split.train, []))
    assert same.metrics["recall@20"] == pytest.approx(as_it_was.metrics["recall@20"])
    popular = int(np.argmax(bundle.popularity))
    extra = [(new_user, int(np.argsort(items)[popular])), (new_user, new_item)]
    more = evaluate_bundle(bundle, other, moved(split.test, extra), moved(split.train, []))
    assert more.n_users == same.n_users + 1
    assert (more.unknown_users, more.unknown_items) == (1, 1)
    # The stranger gets the popular items: one of the two relevant ones is found.
    total = same.metrics["recall@20"] * same.n_users + 0.5
    assert more.metrics["recall@20"] == pytest.approx(total / more.n_users)


def test_a_new_items_features_lead_to_the_users_of_its_group(published: Fitted) -> None:
    _, bundle, _, _ = published
    fresh = planted_dataset(n_users=120, n_items=90, seed=0)
    rng = np.random.default_rng(5)
    rows = rng.permutation(80)[:24]
    features = {
        name: m.features[rows] + 0.1 * rng.standard_normal((24, 8)).astype(np.float32)
        for name, m in fresh.modalities.items()
    }
    for present in ([True, True], [True, False], [False, True]):
        mask = np.tile(present, (24, 1))
        vectors = bundle.item_encoder.encode(features, mask)
        scores = vectors @ bundle.user_vectors[:-1].T
        best = np.argsort(-scores, axis=1)[:, :10] % N_GROUPS
        has_content = (np.abs(features["image"]).sum(1) > 1) | present[1]
        assert (best == (rows % N_GROUPS)[:, None])[has_content].mean() > 0.8, present


def test_a_user_folded_in_from_three_items_gets_items_of_the_same_group(published: Fitted) -> None:
    _, bundle, _, _ = published
    for group in range(N_GROUPS):
        history = np.array([group, group + N_GROUPS, group + 2 * N_GROUPS], np.int32)
        vectors = np.array(bundle.item_vectors[history])[None]
        user = bundle.user_encoder.encode(
            vectors, np.ones((1, 3), np.bool_), np.ones((1, 3), np.float32)
        )
        top = Recommender(bundle).search(user, 8, [history])[0]
        assert (top.item_idx % N_GROUPS == group).mean() > 0.8


def test_folding_in_a_whole_history_gives_the_trained_vector(published: Fitted) -> None:
    _, bundle, split, _ = published
    known = np.flatnonzero(split.train.lengths)[:20].tolist()
    for user in known:
        history = np.array(bundle.item_vectors[split.train.row(user)])[None]
        ones = np.ones(history.shape[:2], np.float32)
        folded = bundle.user_encoder.encode(history, ones > 0, ones)
        np.testing.assert_allclose(folded[0], bundle.user_vectors[user], atol=1e-5)


def test_an_empty_history_has_no_vector(published: Fitted) -> None:
    _, bundle, _, _ = published
    nothing = np.zeros((1, 3, bundle.manifest.dim), np.float32)
    zeros = np.zeros((1, 3), np.float32)
    assert not bundle.user_encoder.encode(nothing, zeros > 0, zeros).any()


def test_padding_of_a_history_changes_nothing(published: Fitted) -> None:
    _, bundle, _, _ = published
    rng = np.random.default_rng(0)
    history = rng.standard_normal((2, 5, bundle.manifest.dim)).astype(np.float32)
    mask = np.array([[True] * 5, [True] * 3 + [False] * 2])
    weights = rng.random((2, 5)).astype(np.float32)
    padded = bundle.user_encoder.encode(history, mask, weights)
    short = bundle.user_encoder.encode(history[1:, :3], mask[1:, :3], weights[1:, :3])
    np.testing.assert_allclose(padded[1:], short, atol=1e-6)
