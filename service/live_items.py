"""The changes of items as one bundle sees them: its encoder makes the vectors."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bundle.errors import InputError
from bundle.loading import Bundle
from bundle.overlay import ItemChange, Overlay, build_overlay, columns_now, encode_item
from service.logs import LOGGER


class LiveItems:
    """What one bundle makes of changed items, kept between changes.

    Args:
        bundle: whose encoder and columns are used.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._vectors: dict[str, NDArray[np.float32]] = {}
        self._columns: dict[str, dict[str, Any]] = {}

    def overlay(self, changes: Mapping[str, ItemChange], names: Iterable[str]) -> Overlay:
        """The overlay of all changes.

        Args:
            changes: the newest of each item.
            names: item_ids that may have changed since the last call.
        """
        for name in names:
            self._vectors.pop(name, None)
            self._columns.pop(name, None)
            change = changes.get(name)
            if change is None or change.deleted:
                continue
            self._columns[name] = columns_now(self._bundle, change)
            if change.features is None:
                continue
            try:
                self._vectors[name] = encode_item(self._bundle.item_encoder, change.features)
            except InputError as error:  # made for a bundle with other modalities
                LOGGER.warning("item_does_not_fit", error=str(error))
        return build_overlay(self._bundle, changes.values(), self._vectors, self._columns)
