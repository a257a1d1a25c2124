"""Item overlays: changed items, encoded for one bundle."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bundle.catalogue.overlay import ItemChange, Overlay, build_overlay, columns_now, encode_item
from bundle.format.reader import Bundle
from service.observability.logs import LOGGER


class ItemOverlays:
    """Encoder of changed items for one bundle; vectors are kept between calls.

    Args:
        bundle: the bundle whose encoder and columns are used.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._vectors: dict[str, NDArray[np.float32]] = {}
        self._columns: dict[str, dict[str, Any] | None] = {}
        self.unfit: set[str] = set()
        """The item_ids whose change does not fit the bundle, or only without its features."""
        self._left_out: set[str] = set()

    def overlay(self, changes: Mapping[str, ItemChange], names: Iterable[str]) -> Overlay:
        """The overlay of all changes that fit the bundle; the others are logged.

        A change outlives the bundle that it was made for, and may come from another version of the
        service. So whatever it raises, the others count.

        Args:
            changes: the newest change of each item, by item_id.
            names: item_ids that may have changed since the last call.
        """
        for name in names:
            self._vectors.pop(name, None)
            self._columns.pop(name, None)
            self.unfit.discard(name)
            self._left_out.discard(name)
            change = changes.get(name)
            if change is None or change.deleted:
                continue
            self._columns[name] = columns_now(self._bundle, change)
            if change.features is None:
                continue
            try:
                self._vectors[name] = encode_item(self._bundle.item_encoder, change.features)
            except Exception as error:  # e.g. features for a bundle with other modalities
                self._does_not_fit(name, error)
        self.unfit &= changes.keys()
        try:
            return self._build(changes.values())
        except Exception:
            for change in changes.values():
                try:
                    self._build([change])
                except Exception as error:
                    self._left_out.add(change.item_id)
                    self._does_not_fit(change.item_id, error)
            return self._build(changes.values())

    def _build(self, changes: Collection[ItemChange]) -> Overlay:
        usable = (change for change in changes if change.item_id not in self._left_out)
        return build_overlay(self._bundle, usable, self._vectors, self._columns)

    def _does_not_fit(self, name: str, error: Exception) -> None:
        self.unfit.add(name)
        LOGGER.warning("item_does_not_fit", item_id=name, error=str(error))
