"""Ids as strings and as Arrow arrays have the same rows and the same mistakes."""

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pytest

import bundle.ids
from bundle.errors import InputError
from bundle.ids import IdMap


@pytest.fixture(autouse=True, params=["few", "many"])
def ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to look ids up: in a dictionary, and by bisection."""
    if request.param == "many":
        monkeypatch.setattr(bundle.ids, "SORTED_FROM", 1)
        monkeypatch.setattr(bundle.ids, "MARKED", 3)
        monkeypatch.setattr(bundle.ids, "BLOCK", 2)


def as_array(ids: Sequence[str | None]) -> pa.StringArray:
    return pa.array(ids, pa.string())


@pytest.mark.parametrize("made", [list, iter, as_array])
def test_rows_of_ids(made: Callable[[list[str]], pa.StringArray]) -> None:
    ids = IdMap(made(["b", "ü/β", "007", "7"]), "item_id")
    assert (len(ids), ids[1], ids.get("7"), ids.get("8")) == (4, "ü/β", 3, None)
    assert "007" in ids
    assert "8" not in ids
    asked = ["7", "nothing", "b", "7"]
    for rows in (ids.rows(asked), ids.rows(as_array(asked))):
        assert rows.dtype == np.int32
        assert rows.tolist() == [3, -1, 0, 3]
    assert ids.take([3, 0, 0]) == ids.take(np.array([3, 0, 0])) == ["7", "b", "b"]
    assert ids.ids == ids.array.to_pylist() == ["b", "ü/β", "007", "7"]


@pytest.mark.parametrize("made", [list, as_array])
@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["a", "b", "", "a"], "user_id: empty id in row 2"),
        (["a", "b", "a", ""], "user_id: id 'a' in row 2 repeats row 0"),
    ],
)
def test_empty_and_repeated_ids(
    made: Callable[[list[str]], pa.StringArray], ids: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        IdMap(made(ids), "user_id")


def test_a_missing_id_in_an_array() -> None:
    with pytest.raises(InputError, match="user_id: empty id in row 1"):
        IdMap(as_array(["a", None]), "user_id")


def test_no_ids() -> None:
    for ids in (IdMap([], "item_id"), IdMap(as_array([]), "item_id")):
        assert (len(ids), ids.ids, ids.rows(as_array(["a"])).tolist()) == (0, [], [-1])


def test_ids_of_an_array_are_no_python_strings_before_one_is_asked_for() -> None:
    ids = IdMap(as_array(["a", "b"]), "item_id")
    assert ids.rows(as_array(["b"])).tolist() == [1]
    assert not {"ids", "_rows"} & vars(ids).keys()
    assert ids.get("b") == 1


@pytest.mark.parametrize("made", [list, as_array])
def test_many_ids_are_found_however_they_sort(
    made: Callable[[list[str]], pa.StringArray], monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    texts = ["z", "é", "日本", "\x00", "a", "a\x00", "aa", "ab", "𝔘", *map(str, range(200))]
    texts = [texts[n] for n in rng.permutation(len(texts))]
    ids = IdMap(made(texts), "user_id")
    asked = [*texts, "", "a\x00\x00", "0200", "~", "\ud800"]
    expected = [*range(len(texts)), *[-1] * 5]
    assert [ids.get(i) for i in texts] == [*range(len(texts))]
    assert ids.rows(asked).tolist() == expected
    monkeypatch.setattr(bundle.ids, "AT_ONCE", 1)
    assert ids.rows(asked).tolist() == expected
    part = pa.array(["x", *texts], pa.string()).slice(1)
    assert IdMap(part, "user_id").rows(texts).tolist() == expected[: len(texts)]


def test_many_ids_take_no_python_object_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle.ids, "SORTED_FROM", 1)
    ids = IdMap(as_array([f"{n}" for n in range(1000)]), "item_id")
    assert (ids.get("77"), ids[77], ids.take([5]), "78" in ids) == (77, "77", ["5"], True)
    assert not {"ids", "_rows"} & vars(ids).keys()


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 2, 0], [1, 0, 1]])
def test_an_order_that_is_not_that_of_the_ids(order: list[int]) -> None:
    with pytest.raises(InputError, match="user_id: the ids are not in the order"):
        IdMap(as_array(["c", "a", "b"]), "user_id", np.array(order, np.int32))
    right = IdMap(as_array(["c", "a", "b"]), "user_id", np.array([1, 2, 0], np.int32))
    assert right.rows(["a", "b", "c", "d"]).tolist() == [1, 2, 0, -1]
