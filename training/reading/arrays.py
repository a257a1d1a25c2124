"""NumPy files of features and of relation graphs; never a pickle."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.reading.file import located

COSINE_SLACK = 1e-3
"""By how much a stored cosine may leave [-1, 1] through rounding; float16 is that coarse."""


def read_matrix(path: Path) -> NDArray[np.float32]:
    """Features [R, F] of a `.npy` file, in float32 whatever the file has.

    Raises:
        InputError: the file is damaged, pickled, no matrix of numbers, empty or not finite.
    """
    return checked_matrix(path.name, _load(path, None)["array"], "array")


def read_graph(path: Path) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Neighbours `idx` [R, k] and their cosines `cos` [R, k] of a `.npz` file.

    Raises:
        InputError: the file is damaged, an array is missing or of another shape, a neighbour is
            no row number or named twice in a row, or a cosine is beyond [-1, 1].
    """
    arrays = _load(path, ("idx", "cos"))
    raw = arrays["idx"]
    cos = checked_matrix(path.name, arrays["cos"], "cos")
    if raw.shape != cos.shape:
        raise located(path.name, f"idx has shape {raw.shape} but cos has {cos.shape}")
    if raw.dtype.kind not in "iu":
        raise located(path.name, f"idx must hold integers, not {raw.dtype}")
    idx: NDArray[np.int64] = raw.astype(np.int64)
    n = len(idx)
    if (bad := (idx < 0) | (idx >= n)).any():
        row, column = _first(bad)
        what = f"neighbour {idx[row, column]} is no row number below {n}"
        raise located(path.name, what, f"idx row {row} column {column} (from 0)")
    # Itself may come again, as padding of items with fewer neighbours.
    ordered = np.sort(idx, axis=1)
    twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != np.arange(n)[:, None])
    if twice.any():
        row, column = _first(twice)
        what = f"neighbour {ordered[row, column]} occurs twice"
        raise located(path.name, what, f"idx row {row} (from 0)")
    if (bad := np.abs(cos) > 1 + COSINE_SLACK).any():
        row, column = _first(bad)
        what = f"{cos[row, column]:g} is no cosine"
        raise located(path.name, what, f"cos row {row} column {column} (from 0)")
    return idx.astype(np.int32), cos.clip(-1, 1)


def checked_matrix(file: str, array: NDArray[np.generic], part: str) -> NDArray[np.float32]:
    """A matrix [R, F] of numbers as finite float32.

    Raises:
        InputError: it is no such matrix; names the first row and column that are not finite.
    """
    if array.dtype.kind not in "fiu":
        raise located(file, f"{part} must hold numbers, not {array.dtype}")
    if array.ndim != 2 or not array.size:
        raise located(file, f"{part} has shape {array.shape}, rows and columns are expected")
    with np.errstate(over="ignore"):  # what does not fit is reported as infinite just below
        matrix = array.astype(np.float32)
    # A sum is finite only if all its terms are: one pass without a matrix of booleans.
    with np.errstate(over="ignore", invalid="ignore"):
        suspicious = not np.isfinite(matrix.sum(dtype=np.float64))
    if suspicious and (bad := ~np.isfinite(matrix)).any():
        row, column = _first(bad)
        place = f"row {row} column {column} (from 0)"
        place = place if part == "array" else f"{part} {place}"
        raise located(file, f"{matrix[row, column]:g} is not finite", place)
    return matrix


def _first(mask: NDArray[np.bool_]) -> tuple[int, int]:
    """Row and column of the first true value."""
    row, column = np.unravel_index(mask.argmax(), mask.shape)
    return int(row), int(column)


def _load(path: Path, names: tuple[str, ...] | None) -> dict[str, NDArray[np.generic]]:
    """The named arrays of an archive, or the one array of a plain file under "array"."""
    kind = "array" if names is None else "archive"
    try:
        # Opened here, because NumPy leaves a damaged archive open.
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
        raise located(path.name, f"cannot be read ({error.strerror or error})") from error
    except Exception as error:  # of a dozen kinds, when a file is damaged
        reason = "it holds Python objects, which are never loaded"
        damaged = "Object arrays" not in str(error) and "pickled" not in str(error)
        raise located(path.name, "not a readable NumPy file" if damaged else reason) from error
    raise located(path.name, f"not a NumPy {kind}")
