"""Small folders of data in every layout, written the way a user would write them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

FORMATS = ("parquet", "csv", "jsonl")

Rows = Sequence[Mapping[str, Any]]

MMREC = """userID\titemID\tx_label
1\t0\t0
1\t2\t1
0\t1\t0
0\t2\t0
0\t3\t2
"""
"""Users 0 and 1, items 0 to 3; item 3 occurs in test only."""
EYE = np.eye(5, 3, dtype=np.float16)
"""Features of five items; the last two have none."""


def write_rows(path: Path, rows: Rows) -> None:
    """A table in the format that the suffix names; lists only in Parquet and JSON lines."""
    match path.suffix:
        case ".parquet":
            pyarrow.parquet.write_table(pa.Table.from_pylist(list(rows)), path)
        case ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        case ".csv":
            pyarrow.csv.write_csv(pa.Table.from_pylist(list(rows)), path)
        case suffix:
            raise ValueError(suffix)


def write_mmrec(folder: Path, inter: str = MMREC, **features: NDArray[Any]) -> Path:
    """A folder in the MMRec layout; `image=array` becomes `image_feat.npy`."""
    folder.mkdir(exist_ok=True)
    (folder / "tiny.inter").write_text(inter)
    for name, array in features.items():
        np.save(folder / f"{name}_feat.npy", array)
    return folder


LOG: Rows = [
    {"user_id": "ann", "item_id": "007", "timestamp": 30.5, "weight": 1.0, "split": "train"},
    {"user_id": "bob", "item_id": 'b,"c"', "timestamp": 10.0, "weight": 5.0, "split": "train"},
    {"user_id": "ann", "item_id": "ü/β", "timestamp": 20.0, "weight": 4.0, "split": "valid"},
    {"user_id": "bob", "item_id": "007", "timestamp": 40.0, "weight": 2.0, "split": "test"},
]

ITEMS: Rows = [
    {"item_id": "ü/β", "title": "1984", "price": 2.5, "year": 1949},
    {"item_id": "007", "title": None, "price": 3.0, "year": 1962},
    {"item_id": "new", "title": "Never seen", "price": None, "year": 2024},
    {"item_id": 'b,"c"', "title": 'Comma, "quoted"', "price": 1.0, "year": 2000},
]


def write_tables(
    folder: Path, form: str = "csv", log: Rows = LOG, items: Rows | None = ITEMS
) -> Path:
    """A folder of tables in one of `FORMATS`."""
    folder.mkdir(exist_ok=True)
    write_rows(folder / f"interactions.{form}", log)
    if items is not None:
        write_rows(folder / f"items.{form}", items)
    return folder


def write_graph(path: Path, idx: Any, cos: Any) -> None:
    """A relation graph as `.npz`."""
    np.savez(path, idx=np.asarray(idx), cos=np.asarray(cos, np.float32))
