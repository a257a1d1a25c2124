"""Ways to spoil a folder of data, and the sentence that refuses it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from data_builders import write_graph, write_rows

from bundle.errors import InputError
from training.dataset import Dataset

Write = Callable[[Path], object]
"""Writes something into a folder."""


def refusal(folder: Path, min_weight: float | None = None) -> str:
    with pytest.raises(InputError) as caught:
        Dataset.read(folder, min_weight)
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(str(folder), "FOLDER").replace(folder.name, "FOLDER")


def text(name: str, content: str | bytes) -> Write:
    data = content if isinstance(content, bytes) else content.encode()
    return lambda folder: (folder / name).write_bytes(data)


def rows(name: str, *content: dict[str, Any]) -> Write:
    return lambda folder: write_rows(folder / name, content)


def columns(name: str, **arrays: pa.Array) -> Write:
    return lambda folder: pyarrow.parquet.write_table(pa.table(arrays), folder / name)


def array(name: str, content: Any) -> Write:
    return lambda folder: np.save(folder / name, np.asarray(content))


def graph(idx: Any, cos: Any) -> Write:
    return lambda folder: write_graph(folder / "image_knn.npz", idx, cos)
