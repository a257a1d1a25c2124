"""The items as they are now: those of a bundle, and what changed since it was made.

Shapes: I items of the bundle, X items with a vector of their own behind them, so that item_idx runs
from 0 to I + X - 1; C items whose columns changed; D columns of a vector.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bundle.filters import ItemFilters
from bundle.loading import Bundle
from bundle.overlay import Overlay, Rows, empty_overlay

ItemState = Literal["trained", "changed", "new"]


class Catalogue:
    """Items by id and by item_idx.

    Args:
        bundle: the items that it was trained on.
        overlay: what changed since; nothing by default.
        filters: of the bundle's item table, to share what they remember.
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
        """The item_idx of an item, None if there is none or it was deleted."""
        added = self.overlay.added.get(item_id)
        if added is not None:
            return self.n_bundle + added
        row = self.bundle.items.get(item_id)
        return None if row in self._hidden else row

    def rows(self, item_ids: Sequence[str]) -> Rows:
        """The item_idx of many items, -1 for unknown ones; deleted ones of the bundle count.

        A deleted item is still something that somebody liked.
        """
        rows = self.bundle.items.rows(item_ids)
        if len(self.overlay.added):
            added = self.overlay.added.rows(item_ids)
            rows = np.where(added >= 0, added + np.int32(self.n_bundle), rows)
        return rows

    def successors(self, rows: Rows) -> Rows:
        """The item_idx [n] that items of the bundle [n] have now, another with new features."""
        if not len(self._replaced):
            return rows
        place = self._replaced.searchsorted(rows)
        moved = self._replaced.take(place, mode="clip") == rows
        if not moved.any():
            return rows
        return np.where(moved, self._replacing.take(place, mode="clip"), rows)

    def current(self, rows: Rows) -> Rows:
        """`successors`, ascending, of ascending item_idx."""
        moved = self.successors(rows)
        return rows if moved is rows else np.sort(moved)

    def item_id(self, row: int) -> str:
        """The id of an item_idx."""
        if row < self.n_bundle:
            return self.bundle.items[row]
        return self.overlay.added[row - self.n_bundle]

    def vectors(self, rows: Rows) -> NDArray[np.float32]:
        """The vectors [n, D] of some item_idx."""
        is_added = rows >= self.n_bundle
        if not is_added.any():
            return np.asarray(self.bundle.item_vectors[rows])
        vectors = np.asarray(self.bundle.item_vectors[np.where(is_added, 0, rows)])
        vectors[is_added] = self.overlay.vectors[rows[is_added] - self.n_bundle]
        return vectors

    def interactions(self, rows: Rows) -> NDArray[np.int64]:
        """Train interactions [n] of some item_idx; new items have none."""
        is_added = rows >= self.n_bundle
        counts = np.asarray(self.bundle.popularity[np.where(is_added, 0, rows)])
        if is_added.any():
            counts[is_added] = self.overlay.interactions[rows[is_added] - self.n_bundle]
        return counts

    def columns(self, row: int) -> dict[str, Any]:
        """The columns of one item, without its id."""
        changed = self._changed_row.get(row)
        table = self.bundle.item_table if changed is None else self.overlay.table
        found: dict[str, Any] = table.slice(row if changed is None else changed, 1).to_pylist()[0]
        del found["item_id"]
        return found

    def was_deleted(self, item_id: str) -> bool:
        """Whether an item must not be served, though a ranking from before may have it."""
        return item_id in self.overlay.deleted

    def state(self, row: int) -> ItemState:
        """Whether an item is as the bundle has it."""
        if row in self._changed_row or row >= self.n_bundle:
            return "changed" if self.item_id(row) in self.bundle.items else "new"
        return "trained"

    def allowed(self, text: str) -> Rows:
        """The item_idx that a filter allows, ascending; not to be changed.

        Raises:
            FilterError: it cannot be read, or does not fit the columns.
        """
        rows = self.filters.allowed(text)
        overlay = self.overlay
        if not len(overlay.changed) and not len(overlay.hidden):
            return rows
        rows = np.setdiff1d(rows, overlay.changed, assume_unique=True)
        changed = overlay.changed[self._changed_filters.allowed(text)]
        rows = np.union1d(rows, changed).astype(np.int32)
        return np.setdiff1d(rows, overlay.hidden, assume_unique=True)

    @cached_property
    def visible(self) -> Rows:
        """All item_idx that may come back, ascending."""
        everything = np.arange(len(self), dtype=np.int32)
        return np.setdiff1d(everything, self.overlay.hidden, assume_unique=True)
