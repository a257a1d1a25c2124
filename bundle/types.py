"""Array types of many signatures. The shape stands in each function's docstring."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Rows: TypeAlias = NDArray[np.int32]
"""Row numbers [n]: item_idx or user_idx."""
Floats: TypeAlias = NDArray[np.float32]
"""Scores, weights, features or vectors, of any shape."""
Vector: TypeAlias = NDArray[np.float32]
"""One vector [D]: a user's, an item's or a query."""
Mask: TypeAlias = NDArray[np.bool_]
"""True for the elements that count, of any shape."""

NO_ITEMS: Rows = np.empty(0, np.int32)
"""No item_idx [0]."""
