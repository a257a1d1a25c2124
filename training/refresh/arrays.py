"""Arrays that are larger than memory: written row by row, then mapped."""

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


class ArrayFile:
    """A `.npy` file to whose end rows are added; `with` it.

    Args:
        path: the file.
        dtype: of its elements.
        width: columns; None for one dimension.
    """

    def __init__(self, path: Path, dtype: type[np.generic], width: int | None = None) -> None:
        self._dtype = np.dtype(dtype)
        self._tail = () if width is None else (width,)
        self._rows = 0
        self._file = path.open("wb")
        self._header()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # NumPy leaves room in the header for the number of rows to grow.
        self._file.seek(0)
        self._header()
        self._file.close()

    def add(self, rows: NDArray[Any]) -> None:
        """Append rows [n] or [n, width]."""
        self._file.write(np.ascontiguousarray(rows, self._dtype).data)
        self._rows += len(rows)

    def _header(self) -> None:
        shape = (self._rows, *self._tail)
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)
