"""Ids as strings and as Arrow arrays have the same rows and the same mistakes."""

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pytest

from bundle.errors import InputError
from bundle.ids import IdMap


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
