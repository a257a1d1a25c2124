"""Readers of NumPy files: feature matrices and relation graphs; pickles are refused."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.readers.table_file import file_error

COSINE_SLACK = 1e-3
"""Tolerance for stored cosines outside [-1, 1]; the rounding error of float16."""


LARGEST = 1e15
"""Largest absolute value of a feature. Rows are scaled to length 1 in float32, in which the squares
of larger values do not add up."""


def read_matrix(path: Path) -> NDArray[np.float32]:
    """Feature matrix [R, F] of a `.npy` file, converted to float32.

    Raises:
        InputError: the file is damaged, holds pickled objects, or is not a non-empty matrix of
            finite numbers.
    """
    return checked_matrix(path.name, _load(path, None)["array"], "array")


def read_graph(path: Path) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Relation graph of a `.npz` file: neighbours `idx` [R, k] and cosines `cos` [R, k].

    Raises:
        InputError: the file is damaged, an array is missing or has another shape, a neighbour is
            not a row number or occurs twice in a row, or a cosine is outside [-1, 1].
    """
    arrays = _load(path, ("idx", "cos"))
    raw = arrays["idx"]
    cos = checked_matrix(path.name, arrays["cos"], "cos")
    if raw.shape != cos.shape:
        raise file_error(path.name, f"idx has shape {raw.shape} but cos has {cos.shape}")
    if raw.dtype.kind not in "iu":
        raise file_error(path.name, f"idx must contain integers, not {raw.dtype}")
    idx: NDArray[np.int64] = raw.astype(np.int64)
    n = len(idx)
    if (bad := (idx < 0) | (idx >= n)).any():
        row, column = _first(bad)
        what = f"neighbour {idx[row, column]} is not a row number below {n}"
        raise file_error(path.name, what, f"idx row {row} column {column} (from 0)")
    # The row's own number may repeat: it pads rows with fewer neighbours.
    ordered = np.sort(idx, axis=1)
    twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != np.arange(n)[:, None])
    if twice.any():
        row, column = _first(twice)
        what = f"neighbour {ordered[row, column]} occurs twice"
        raise file_error(path.name, what, f"idx row {row} (from 0)")
    if (bad := np.abs(cos) > 1 + COSINE_SLACK).any():
        row, column = _first(bad)
        what = f"{cos[row, column]:g} is not a cosine"
        raise file_error(path.name, what, f"cos row {row} column {column} (from 0)")
    return idx.astype(np.int32), cos.clip(-1, 1)


def checked_matrix(file: str, array: NDArray[np.generic], part: str) -> NDArray[np.float32]:
    """Validate a matrix [R, F] and convert it to float32.

    Raises:
        InputError: it is not a matrix of finite numbers up to LARGEST; names the first invalid row
            and column.
    """
    if array.dtype.kind not in "fiu":
        raise file_error(file, f"{part} must contain numbers, not {array.dtype}")
    if array.ndim != 2 or not array.size:
        raise file_error(file, f"{part} has shape {array.shape}, expected rows and columns")
    with np.errstate(over="ignore"):  # overflow to infinity is reported below
        matrix = array.astype(np.float32)
    # NaN fails both comparisons, which need no boolean matrix.
    if not (matrix.min() >= -LARGEST and matrix.max() <= LARGEST):
        row, column = _first(~(np.abs(matrix) <= LARGEST))
        place = f"row {row} column {column} (from 0)"
        place = place if part == "array" else f"{part} {place}"
        raise file_error(file, f"{matrix[row, column]:g} is {why_not(matrix[row, column])}", place)
    return matrix


def why_not(feature: np.float32) -> str:
    """Reason why a number is no feature."""
    return f"beyond ±{LARGEST:g}" if np.isfinite(feature) else "not finite"


def _first(mask: NDArray[np.bool_]) -> tuple[int, int]:
    """Row and column of the first True."""
    row, column = np.unravel_index(mask.argmax(), mask.shape)
    return int(row), int(column)


def _load(path: Path, names: tuple[str, ...] | None) -> dict[str, NDArray[np.generic]]:
    """Arrays of an archive by name, or the array of a plain file under "array"."""
    kind = "array" if names is None else "archive"
    try:
        # Opened here, because NumPy does not close a damaged archive.
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                if names is None:
                    return {"array": loaded}
            elif names is not None:
                arrays = {name: loaded[name] for name in names if name in loaded}
                if len(arrays) == len(names):
                    return arrays
                kind = f"archive with the arrays {' and '.join(names)}"
    except OSError as error:
        raise file_error(path.name, f"cannot be read ({error.strerror or error})") from error
    except Exception as error:  # damaged files raise a dozen types
        reason = "contains Python objects, which are never loaded"
        damaged = "Object arrays" not in str(error) and "pickled" not in str(error)
        text = "is not a readable NumPy file" if damaged else reason
        raise file_error(path.name, text) from error
    raise file_error(path.name, f"is not a NumPy {kind}")
