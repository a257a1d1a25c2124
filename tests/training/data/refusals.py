"""Wrong files for a folder of data, and the message that refuses the folder."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from bundle.errors import InputError
from tests.support.data.datasets import write_graph, write_rows
from training.data.load import read_dataset

Write = Callable[[Path], object]
"""Writes something into a folder."""


def refusal(folder: Path, min_weight: float | None = None) -> str:
    with pytest.raises(InputError) as caught:
        read_dataset(folder, min_weight)
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(str(folder), "FOLDER").replace(folder.name, "FOLDER")


def text(name: str, content: str | bytes) -> Write:
    data = content if isinstance(content, bytes) else content.encode()
    return lambda folder: (folder / name).write_bytes(data)


def rows(name: str, *content: Mapping[str, Any]) -> Write:
    return lambda folder: write_rows(folder / name, content)


def columns(name: str, **arrays: pa.Array) -> Write:
    return lambda folder: pyarrow.parquet.write_table(pa.table(arrays), folder / name)


def array(name: str, content: Any) -> Write:
    return lambda folder: np.save(folder / name, np.asarray(content))


def graph(idx: Any, cos: Any) -> Write:
    return lambda folder: write_graph(folder / "image_knn.npz", idx, cos)
