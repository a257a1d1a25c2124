"""The current items: those of a bundle, and the changes since it was made.

Shapes: I items of the bundle, followed by X items with a vector in the overlay, so that item_idx
runs from 0 to I + X - 1; C items whose columns changed; D columns of a vector.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bundle.catalogue.filters import ItemFilters
from bundle.catalogue.overlay import Overlay, empty_overlay
from bundle.catalogue.values import json_rows
from bundle.format.reader import Bundle
from bundle.sorted_sets import difference, union
from bundle.types import Floats, Rows

ItemState = Literal["trained", "changed", "new"]
"""Origin of an item: as in the bundle, changed since, or new since."""


class Catalogue:
    """Items by id and by item_idx.

    Args:
        bundle: the bundle.
        overlay: the changes since the bundle was made; none by default.
        filters: filters of the bundle's item table, to share their cache.
    """

    def __init__(
        self, bundle: Bundle, overlay: Overlay | None = None, filters: ItemFilters | None = None
    ) -> None:
        self.bundle = bundle
        self.overlay = overlay or empty_overlay(bundle)
        self.filters = filters or ItemFilters(bundle.item_table)
        self.n_bundle = len(bundle.items)
        self._hidden = set(self.overlay.hidden.tolist())
        self._changed_filters = ItemFilters(self.overlay.table)
        kept = np.flatnonzero(self.overlay.replaced >= 0)
        kept = kept[np.argsort(self.overlay.replaced[kept])]
        self._replaced = self.overlay.replaced[kept]
        self._replacing = (self.n_bundle + kept).astype(np.int32)
        self._changed_row = {row: n for n, row in enumerate(self.overlay.changed.tolist())}

    def __len__(self) -> int:
        return self.n_bundle + len(self.overlay.added)

    def get(self, item_id: str) -> int | None:
        """item_idx of an item; None if it is unknown or deleted."""
        added = self.overlay.added.get(item_id)
        if added is not None:
            return self.n_bundle + added
        row = self.bundle.items.get(item_id)
        return None if row in self._hidden else row

    def rows(self, item_ids: Sequence[str]) -> Rows:
        """item_idx of several items; -1 for unknown ones.

        Deleted items of the bundle keep their item_idx: they still say what a user liked.
        """
        rows = self.bundle.items.rows(item_ids)
        if len(self.overlay.added):
            added = self.overlay.added.rows(item_ids)
            rows = np.where(added >= 0, added + np.int32(self.n_bundle), rows)
        return rows

    def successors(self, rows: Rows) -> Rows:
        """Current item_idx [n] of the bundle's items [n]: another one if it has new features."""
        if not len(self._replaced):
            return rows
        place = self._replaced.searchsorted(rows)
        moved = self._replaced.take(place, mode="clip") == rows
        if not moved.any():
            return rows
        return np.where(moved, self._replacing.take(place, mode="clip"), rows)

    def current(self, rows: Rows) -> Rows:
        """`successors` of ascending item_idx, sorted again."""
        moved = self.successors(rows)
        return rows if moved is rows else np.sort(moved)

    def item_id(self, row: int) -> str:
        """External id of an item."""
        if row < self.n_bundle:
            return self.bundle.items[row]
        return self.overlay.added[row - self.n_bundle]

    def item_ids(self, rows: Sequence[int]) -> list[str]:
        """The ids of some item_idx."""
        n_bundle, added = self.n_bundle, self.overlay.added
        if not len(added):
            return self.bundle.items.take(rows)
        trained = iter(self.bundle.items.take([row for row in rows if row < n_bundle]))
        return [next(trained) if row < n_bundle else added[row - n_bundle] for row in rows]

    def vectors(self, rows: Rows) -> Floats:
        """Vectors [n, D] of items [n]."""
        is_added = rows >= self.n_bundle
        if not is_added.any():
            return np.asarray(self.bundle.item_vectors[rows])
        vectors = np.asarray(self.bundle.item_vectors[np.where(is_added, 0, rows)])
        vectors[is_added] = self.overlay.vectors[rows[is_added] - self.n_bundle]
        return vectors

    def interactions(self, rows: Rows) -> NDArray[np.int64]:
        """Number of interactions [n] of items [n] in the bundle; 0 for new ones."""
        is_added = rows >= self.n_bundle
        counts = np.asarray(self.bundle.popularity[np.where(is_added, 0, rows)])
        if is_added.any():
            counts[is_added] = self.overlay.interactions[rows[is_added] - self.n_bundle]
        return counts

    def columns(self, row: int) -> dict[str, Any]:
        """Columns of an item as JSON has them, without its id."""
        changed = self._changed_row.get(row)
        table = self.bundle.item_table if changed is None else self.overlay.table
        (found,) = json_rows(table.slice(row if changed is None else changed, 1))
        del found["item_id"]
        return found

    def was_deleted(self, item_id: str) -> bool:
        """True if an item was deleted. Rankings computed before may still contain it."""
        return item_id in self.overlay.deleted

    def state(self, row: int) -> ItemState:
        """Origin of an item."""
        if row in self._changed_row or row >= self.n_bundle:
            return "changed" if self.item_id(row) in self.bundle.items else "new"
        return "trained"

    def allowed(self, text: str) -> Rows:
        """item_idx that match a filter, ascending. The array must not be changed.

        Raises:
            FilterError: the filter has a syntax error, or does not fit the columns.
        """
        rows = self.filters.allowed(text)
        overlay = self.overlay
        if not len(overlay.changed) and not len(overlay.hidden):
            return rows
        rows = difference(rows, overlay.changed)
        changed = overlay.changed[self._changed_filters.allowed(text)]
        rows = union(rows, changed)
        return difference(rows, overlay.hidden)

    @cached_property
    def visible(self) -> Rows:
        """item_idx of all items that are not hidden, ascending."""
        everything = np.arange(len(self), dtype=np.int32)
        return difference(everything, self.overlay.hidden)
