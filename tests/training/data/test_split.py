"""Splits: what each rule promises, by hand and for any data."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from bundle.csr import Csr
from bundle.errors import InputError
from bundle.ids import IdMap
from tests.support.data.datasets import write_mmrec
from training.data.dataset import TEST, TRAIN, VALID, Dataset, Interactions
from training.data.load import read_dataset
from training.data.split import By, Split, SplitConfig, make_split

N_USERS, N_ITEMS = 6, 30

pairs = st.lists(
    st.tuples(st.integers(0, N_USERS - 1), st.integers(0, N_ITEMS - 1)),
    min_size=30,
    max_size=100,
    unique=True,
)
fractions = st.floats(0.01, 0.49)


def dataset(
    log: list[tuple[int, int]],
    timestamp: NDArray[np.float64] | None = None,
    label: NDArray[np.int8] | None = None,
) -> Dataset:
    users, items = np.asarray(log, np.int32).reshape(-1, 2).T
    return Dataset(
        users=IdMap(map(str, range(N_USERS)), "user_id"),
        items=IdMap(map(str, range(N_ITEMS)), "item_id"),
        interactions=Interactions(users, items, timestamp, None, label),
        modalities={},
        item_table=pa.table({}),
        fingerprint="",
    )


def split(data: Dataset, seed: int = 0, **config: Any) -> Split:
    return make_split(data, SplitConfig(**config), np.random.default_rng(seed))


def entries(part: Csr) -> set[tuple[int, int]]:
    users, items = part.pairs()
    return set(zip(users.tolist(), items.tolist(), strict=True))


def times(data: Dataset, part: Csr) -> dict[tuple[int, int], float]:
    log = data.interactions
    assert log.timestamp is not None
    columns = (log.user_idx.tolist(), log.item_idx.tolist(), log.timestamp.tolist())
    return {(u, i): t for u, i, t in zip(*columns, strict=True) if (u, i) in entries(part)}


@pytest.mark.parametrize("by", ["user_time", "global_time", "random"])
@settings(max_examples=40, deadline=None)
@given(log=pairs, valid=fractions, test=fractions, seed=st.integers(0, 9))
def test_parts_are_disjoint_complete_and_repeatable(
    by: By, log: list[tuple[int, int]], valid: float, test: float, seed: int
) -> None:
    data = dataset(log, np.random.default_rng(seed).permutation(len(log)).astype(float))
    config = {"by": by, "valid_fraction": valid, "test_fraction": test}
    try:
        parts = split(data, seed, **config)
    except InputError:
        assert by == "global_time"  # one per cent of thirty may be nothing
        return
    train, valid_part, test_part = map(entries, (parts.train, parts.valid, parts.test))
    assert train | valid_part | test_part == set(log)
    assert len(train) + len(valid_part) + len(test_part) == len(log)
    for part in (parts.train, parts.valid, parts.test):
        assert (part.n_rows, part.n_cols) == (N_USERS, N_ITEMS)
    again = split(data, seed, **config)
    for name in ("train", "valid", "test"):
        first, second = getattr(parts, name), getattr(again, name)
        np.testing.assert_array_equal(first.indptr, second.indptr)
        np.testing.assert_array_equal(first.indices, second.indices)


@pytest.mark.parametrize("by", ["user_time", "random"])
@settings(max_examples=40, deadline=None)
@given(log=pairs, valid=fractions, test=fractions)
def test_every_user_of_three_is_in_every_part(
    by: By, log: list[tuple[int, int]], valid: float, test: float
) -> None:
    data = dataset(log, np.zeros(len(log)))
    parts = split(data, by=by, valid_fraction=valid, test_fraction=test)
    n = np.bincount(data.interactions.user_idx, minlength=N_USERS)
    for part, fraction in ((parts.test, test), (parts.valid, valid)):
        assert ((part.lengths >= 1) == (n >= 3)).all()
        assert (part.lengths <= np.maximum(n * fraction, 1)).all()
    assert ((parts.train.lengths >= 1) == (n >= 1)).all()


@settings(max_examples=40, deadline=None)
@given(log=pairs, seed=st.integers(0, 9))
def test_user_time_goes_forward_for_each_user(log: list[tuple[int, int]], seed: int) -> None:
    stamps = np.random.default_rng(seed).integers(0, 5, len(log)).astype(float)
    data = dataset(log, stamps)
    parts = split(data, by="user_time", valid_fraction=0.3, test_fraction=0.2)
    # The order in the file decides between equal times.
    position = {pair: (stamps[row], row) for row, pair in enumerate(log)}
    for user in range(N_USERS):
        train, valid, test = (
            [position[pair] for pair in entries(part) if pair[0] == user]
            for part in (parts.train, parts.valid, parts.test)
        )
        if test:
            assert max(train) < min(valid)
            assert max(valid) < min(test)


def test_equal_times_are_in_the_order_of_the_file() -> None:
    rng = np.random.default_rng(0)
    log = [(user, item) for user in range(N_USERS) for item in range(N_ITEMS)]
    log = [log[n] for n in rng.permutation(len(log)).tolist()]
    time = rng.integers(4, size=len(log)).astype(np.float64)
    split = make_split(dataset(log, time), SplitConfig(by="user_time"), rng)
    for user in range(N_USERS):
        rows = [row for row, pair in enumerate(log) if pair[0] == user]
        rows.sort(key=lambda row: time[row])
        items = [log[row][1] for row in rows]
        assert split.test.row(user).tolist() == sorted(items[-3:])
        assert split.valid.row(user).tolist() == sorted(items[-6:-3])


@settings(max_examples=40, deadline=None)
@given(log=pairs, seed=st.integers(0, 9))
def test_global_time_goes_forward_for_all(log: list[tuple[int, int]], seed: int) -> None:
    data = dataset(log, np.random.default_rng(seed).integers(0, 50, len(log)).astype(float))
    parts = split(data, by="global_time", valid_fraction=0.3, test_fraction=0.2)
    train, valid, test = (
        times(data, part).values() for part in (parts.train, parts.valid, parts.test)
    )
    assert max(train) < min(valid)
    assert max(valid) < min(test)


def test_user_time_by_hand() -> None:
    log = [(0, item) for item in range(10)] + [(1, 5), (1, 6), (1, 7), (2, 0), (2, 1)]
    stamps = np.asarray([9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 1, 1, 1, 0, 0], float)
    parts = split(dataset(log, stamps), valid_fraction=0.25, test_fraction=0.3)
    assert entries(parts.test) == {(0, 0), (0, 1), (0, 2), (1, 7)}
    assert entries(parts.valid) == {(0, 3), (0, 4), (1, 6)}
    assert parts.how == (
        "user_time: the last 0.3 (test) and 0.25 (valid) of each user's interactions"
    )


def test_a_seed_decides_at_random() -> None:
    log = [(0, item) for item in range(N_ITEMS)]
    one, same, other = (entries(split(dataset(log), seed).test) for seed in (1, 1, 2))
    assert one == same != other


def test_labels_are_taken_as_they_are() -> None:
    log = [(0, 1), (0, 2), (0, 3)]
    data = dataset(log, np.zeros(3), np.asarray([TEST, TRAIN, VALID], np.int8))
    parts = split(data)
    assert (entries(parts.train), entries(parts.valid)) == ({(0, 2)}, {(0, 3)})
    assert entries(parts.test) == {(0, 1)}
    assert parts.how == "label: the labels of the data"


@pytest.mark.parametrize("timed", [True, False])
def test_labels_without_valid_get_one_out_of_train(timed: bool) -> None:
    log = [(0, item) for item in range(12)]
    label = np.asarray([TEST, TEST] + [TRAIN] * 10, np.int8)
    stamps = np.arange(12, 0, -1).astype(float) if timed else None
    parts = split(dataset(log, stamps, label), valid_fraction=0.2)
    assert entries(parts.test) == {(0, 0), (0, 1)}
    assert len(entries(parts.valid)) == 2
    if timed:
        assert entries(parts.valid) == {(0, 2), (0, 3)}
    rule = "the last" if timed else "random"
    assert parts.how == f"label: the labels of the data, valid is {rule} 0.2 of each user's train"


def test_no_test_only_if_none_is_wanted() -> None:
    log = [(0, 1), (0, 2), (0, 3)]
    assert split(dataset(log), test_fraction=0).test.nnz == 0
    labelled = dataset(log, label=np.zeros(3, np.int8))
    assert split(labelled, test_fraction=0).valid.nnz == 1
    with pytest.raises(InputError, match="split by label: the test part would be empty"):
        split(labelled)


def test_a_part_without_interactions_is_refused() -> None:
    with pytest.raises(
        InputError,
        match=r"split by random: the valid part would be empty \(users with fewer than three",
    ):
        split(dataset([(0, 1), (0, 2), (1, 1)]))
    with pytest.raises(InputError, match="split by global_time: the train part would be empty"):
        split(dataset([(0, 1), (0, 2), (1, 1)], np.ones(3)), by="global_time")


def test_a_rule_needs_its_column() -> None:
    data = dataset([(0, 1), (0, 2), (0, 3)])
    with pytest.raises(InputError, match="needs split labels"):
        split(data, by="label")
    for by in ("user_time", "global_time"):
        with pytest.raises(InputError, match="needs timestamps"):
            split(data, by=by)


def test_a_folder_without_timestamps_or_labels_is_split_at_random(tmp_path: Path) -> None:
    lines = "".join(f"u\ti{row}\n" for row in range(10))
    data = read_dataset(write_mmrec(tmp_path, "userID\titemID\n" + lines))
    assert split(data).how.startswith("random: ")


@pytest.mark.parametrize(
    "config",
    [
        {"valid_fraction": 0},
        {"valid_fraction": 0.5, "test_fraction": 0.5},
        {"test_fraction": -0.1},
        {"by": "time"},
        {"seed": -1},
        {"seeds": 1},
    ],
)
def test_the_configuration_is_checked(config: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SplitConfig(**config)


def test_every_setting_is_described() -> None:
    assert all(field.description for field in SplitConfig.model_fields.values())
