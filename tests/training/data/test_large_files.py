"""Files of several row groups, and how much of a file is in memory at a time."""

import gc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bundle.errors import InputError
from tests.support.waiting import wait_until
from training.data.load import read_dataset
from training.data.readers.table_file import TableFile

NAMES = "abcdefgh"
USERS = ["z", "a", "z", "m", "a", "b", "m", "z"]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(USERS),
        pa.array(USERS, pa.large_string()),
        pa.array(USERS).dictionary_encode(),
        # A dictionary in another order, with a value twice and one that no row has.
        pa.DictionaryArray.from_arrays(
            pa.array([4, 1, 5, 2, 1, 0, 2, 4]), pa.array(["b", "a", "m", "unused", "z", "z"])
        ),
        pa.array([ord(user) for user in USERS]),
    ],
    ids=["string", "large_string", "dictionary", "repeats in dictionary", "integers"],
)
@pytest.mark.parametrize("rows", [1, 3, 8])
def test_ids_are_numbered_as_they_occur_in_all_row_groups(
    tmp_path: Path, column: pa.Array, rows: int
) -> None:
    table = pa.table({"user_id": column, "item_id": [f"i{n}" for n in range(8)]})
    pq.write_table(table, tmp_path / "interactions.parquet", row_group_size=rows)
    data = read_dataset(tmp_path)
    log = data.interactions
    if pa.types.is_integer(column.type):
        assert data.users.ids == [str(ord(user)) for user in "abmz"]
        assert [data.users[row] for row in log.user_idx] == [str(ord(user)) for user in USERS]
    else:
        assert data.users.ids == ["z", "a", "m", "b"]
        assert log.user_idx.tolist() == [0, 1, 0, 2, 1, 3, 2, 0]


@pytest.mark.parametrize(
    ("ids", "row"), [(["a", "b", "c", "", None], 3), (["a", None, "b", "", "c"], 1)]
)
def test_an_empty_id_is_found_in_a_later_row_group(
    tmp_path: Path, ids: list[str | None], row: int
) -> None:
    table = pa.table({"user_id": pa.array(ids, pa.string()), "item_id": list("vwxyz")})
    pq.write_table(table, tmp_path / "interactions.parquet", row_group_size=2)
    message = rf"interactions.parquet, row {row} \(from 0\), column 'user_id': the id is empty"
    with pytest.raises(InputError, match=message):
        read_dataset(tmp_path)


def test_of_parquet_one_column_is_in_memory_at_a_time(tmp_path: Path) -> None:
    n = 500_000
    path = tmp_path / "interactions.parquet"
    pq.write_table(pa.table({name: np.arange(n) for name in NAMES}), path)
    size = n * 8
    gc.collect()  # what other tests have left
    before = pa.total_allocated_bytes()
    read = TableFile(path).columns(dict.fromkeys(NAMES, pa.float64()))

    def is_free() -> bool:
        """Arrow's threads release what they hold of a column a little later."""
        return bool(pa.total_allocated_bytes() - before < size)

    for name in NAMES:
        column = read(name)
        assert column.num_rows == n
        assert pa.total_allocated_bytes() - before < 4 * size
        del column
        wait_until(is_free, "the memory of the column")


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_column_of_a_text_file_is_kept_by_who_asked_for_it(tmp_path: Path, form: str) -> None:
    line = {"csv": "a,b\n1,x\n2,y\n", "jsonl": '{"a":1,"b":"x"}\n{"a":2,"b":"y"}\n'}[form]
    path = tmp_path / f"interactions.{form}"
    path.write_text(line)
    read = TableFile(path).columns({"a": pa.float64(), "b": pa.string()})
    assert read("b")["b"].to_pylist() == ["x", "y"]
    assert read("a")["a"].to_pylist() == [1, 2]
