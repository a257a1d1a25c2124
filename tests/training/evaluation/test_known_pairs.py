"""A bundle is not evaluated on what it has been told, and the output says so."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundle.csr import Csr
from bundle.errors import InputError
from bundle.events.history import encode_histories
from bundle.format.writer import BundleContents
from bundle.store.store import BundleStore
from tests.support.data.bundles import make_contents
from training.cli.evaluate import evaluate
from training.cli.options import read_and_split
from training.data.split import Split
from training.evaluation.bundle_evaluation import evaluate_bundle
from training.evaluation.known_pairs import known_pairs, selected
from training.fitting.config import FitConfig

USERS, ITEMS = 60, 40


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(3)
    rows = [
        f"user-{user},item-{item}"
        for user in range(USERS)
        for item in rng.choice(ITEMS, 8, replace=False).tolist()
    ]
    items = "".join(f"item-{item}\n" for item in range(ITEMS))
    (folder / "items.csv").write_text(f"item_id\n{items}")
    (folder / "interactions.csv").write_text("user_id,item_id\n" + "\n".join(rows) + "\n")
    return folder


def fitted(data: Path) -> tuple[BundleContents, Split, Csr]:
    """A bundle as a fit to the data makes it, the split, and all interactions, as the bundle's."""
    config = FitConfig()
    dataset, split = read_and_split(data, config)
    contents = make_contents(USERS, ITEMS, 8, rng=np.random.default_rng(0))
    users = contents.users.rows(dataset.users.ids)
    items = contents.items.rows(dataset.items.ids)

    def of_bundle(*parts: Csr) -> Csr:
        pairs = [part.pairs() for part in parts]
        rows = np.concatenate([users[user] for user, _ in pairs])
        cols = np.concatenate([items[item] for _, item in pairs])
        return Csr.from_pairs(rows, cols, USERS, ITEMS)

    seen = of_bundle(split.train)
    contents = replace(
        contents,
        seen=seen,
        seen_weights=np.ones(seen.nnz, np.float32),
        data_fingerprint=dataset.fingerprint,
        config=config.model_dump(mode="json"),
    )
    return contents, split, of_bundle(split.train, split.valid, split.test)


def published(root: Path, contents: BundleContents, **changes: Any) -> BundleStore:
    store = BundleStore(root)
    if "seen" in changes:
        changes["seen_weights"] = np.ones(changes["seen"].nnz, np.float32)
    store.publish(replace(contents, **changes))
    return store


def printed(data: Path, store: BundleStore, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    evaluate(data, str(store.root), no_baselines=True, as_json=True)
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_known_pairs_are_those_that_the_bundle_has(data: Path, tmp_path: Path) -> None:
    contents, split, _ = fitted(data)
    bundle = published(tmp_path, contents).load()
    dataset, _ = read_and_split(data, FitConfig())
    (train_user, train_item), (test_user, test_item) = split.train.pairs(), split.test.pairs()
    both = Csr.from_pairs(
        np.concatenate([train_user, test_user]),
        np.concatenate([train_item, test_item]),
        split.train.n_rows,
        split.train.n_cols,
    )
    known = known_pairs(bundle, dataset.users.ids, dataset.items, both)
    assert selected(both, known).indices.tolist() == split.train.indices.tolist()
    assert selected(both, ~known).indices.tolist() == split.test.indices.tolist()
    strangers = [f"another {user}" for user in dataset.users.ids]
    assert not known_pairs(bundle, strangers, dataset.items, both).any()


def test_what_a_refresh_added_is_taken_out_of_the_histories(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The bundle after a refresh with the log that it was fitted on, as if it knew all but test."""
    contents, split, everything = fitted(data)
    told = published(tmp_path / "told", contents, seen=everything)
    bundle = told.load()
    dataset, _ = read_and_split(data, FitConfig())
    asked = np.flatnonzero(split.test.lengths)
    found = printed(data, told, capsys)
    assert found["fitted_on_these_data"]
    assert (found["left_out_pairs"], found["encoded_users"]) == (0, len(asked))

    # The same bundle without the test interactions, with vectors of its own encoder.
    rows, cols = everything.pairs()
    items, users = bundle.items.rows(dataset.items.ids), bundle.users.rows(dataset.users.ids)
    test_user, test_item = split.test.pairs()
    is_test = np.isin(rows * ITEMS + cols, users[test_user] * ITEMS + items[test_item])
    rest = Csr.from_pairs(rows[~is_test], cols[~is_test], USERS, ITEMS)
    ones = np.ones(rest.nnz, np.float32)
    vectors = encode_histories(
        bundle.user_encoder, bundle.item_vectors, rest.indptr, rest.indices, ones
    )
    untold = published(tmp_path / "untold", contents, seen=rest, user_vectors=vectors)
    expected = printed(data, untold, capsys)
    assert expected["encoded_users"] == 0
    for name in ("recall@20", "ndcg@20", "coverage@20"):
        assert found[name] == pytest.approx(expected[name])


def test_of_other_data_known_pairs_are_left_out_and_counted(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    contents, split, everything = fitted(data)
    dataset, _ = read_and_split(data, FitConfig())
    rows, cols = everything.pairs()
    few = rows % 3 == 0  # one third of the users: all of them in the bundle
    some = Csr.from_pairs(rows[few], cols[few], USERS, ITEMS)
    store = published(tmp_path / "some", contents, seen=some, data_fingerprint="1" * 64)
    bundle = store.load()
    known = known_pairs(bundle, dataset.users.ids, dataset.items, split.test)
    assert 0 < known.sum() < split.test.nnz
    found = printed(data, store, capsys)
    assert not found["fitted_on_these_data"]
    assert found["left_out_pairs"] == known.sum()
    assert found["encoded_users"] == 0
    rest = selected(split.test, ~known)
    expected = evaluate_bundle(bundle, dataset, rest, split.train)
    assert found["ndcg@20"] == expected.metrics["ndcg@20"]
    assert found["users"] == np.count_nonzero(rest.lengths)
    evaluate(data, str(store.root), no_baselines=True)
    said = f"{known.sum()} test interactions that it has are left out, {rest.nnz} remain"
    assert said in capsys.readouterr().out

    nothing = published(tmp_path / "all", contents, seen=everything, data_fingerprint="1" * 64)
    with pytest.raises(InputError, match=f"has all {split.test.nnz} interactions of the test part"):
        evaluate(data, str(nothing.root), no_baselines=True)


def test_what_the_bundle_does_not_have_is_evaluated_as_ever(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    contents, split, _ = fitted(data)
    found = printed(data, published(tmp_path, contents), capsys)
    assert found["fitted_on_these_data"]
    assert (found["left_out_pairs"], found["encoded_users"]) == (0, 0)
    assert found["users"] == np.count_nonzero(split.test.lengths)
