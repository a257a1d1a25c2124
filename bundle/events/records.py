"""Records of the service's state: events and changes.

Events are interactions of users with items. Changes are the other facts that outlive a bundle: item
changes and erasures of users. They are numbered in ascending order, so that a reader can ask for
those newer than a number. The service writes both, a refresh reads them; `bundle.events.keys` says
where they lie.
"""

import base64
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import orjson

from bundle.catalogue.overlay import ItemChange
from bundle.types import Floats

RECENT = 500
"""Events of a user that requests take into account before the next refresh, which takes all:
a limit for the time and memory that a user with many events costs."""


@dataclass(frozen=True, slots=True)
class Event:
    """An interaction of a user with an item.

    Attributes:
        user_id, item_id: external ids; either may be unknown to the bundle.
        type: the caller's name of the kind of interaction: view, purchase, dislike, …
        timestamp: seconds since 1970, UTC.
        weight: strength of the interaction; below 0 for a dislike.
        arm: `<experiment>/<arm>` of the user, if any.
    """

    user_id: str
    item_id: str
    type: str
    timestamp: float
    weight: float
    arm: str | None = None

    def line(self) -> bytes:
        """JSON line of all fields but the user."""
        fields = [self.item_id, self.weight, self.timestamp, self.type, self.arm]
        return orjson.dumps(fields) + b"\n"

    @classmethod
    def of_line(cls, user_id: str, line: bytes) -> Self:
        """Inverse of `line`.

        Raises:
            ValueError, TypeError: not a line of this format.
        """
        item_id, weight, timestamp, kind, arm = orjson.loads(line)
        is_text = isinstance(item_id, str) and isinstance(kind, str)
        is_named = arm is None or isinstance(arm, str)
        if not (is_text and is_named and {type(weight), type(timestamp)} <= {float, int}):
            raise TypeError("not the line of an event")
        return cls(user_id, item_id, kind, timestamp, weight, arm)


ChangeKind = Literal["item", "user"]


@dataclass(frozen=True, slots=True)
class Change:
    """A fact that outlives a bundle: the newest change of an item, or the erasure of a user.

    Attributes:
        kind: `item` for a change, `user` for an erasure.
        name: item_id or user_id.
        number: sequence number among all changes; a newer one of the same kind and name replaces
            this one.
        body: JSON.
    """

    kind: ChangeKind
    name: str
    number: int
    body: bytes


def pack_change(change: ItemChange) -> bytes:
    """Body of the record of an item change; features as base64 of little-endian float32."""
    features: dict[str, str] | None = None
    if change.features is not None:
        features = {
            name: base64.b64encode(np.asarray(values, "<f4").tobytes()).decode()
            for name, values in change.features.items()
        }
    body = {"deleted": change.deleted, "features": features, "columns": change.columns}
    return orjson.dumps(body)


def unpack_change(item_id: str, body: bytes) -> ItemChange:
    """Inverse of `pack_change`.

    Raises:
        ValueError, KeyError, TypeError: not a body of this format.
    """
    if not item_id:
        raise ValueError("the item has no id")
    found: dict[str, Any] = orjson.loads(body)
    is_whole = isinstance(found["deleted"], bool)
    if not is_whole or not all(isinstance(found[p], dict | None) for p in ("features", "columns")):
        raise TypeError("not an item change")
    features: dict[str, Floats] | None = None
    if found["features"] is not None:
        features = {
            name: np.frombuffer(base64.b64decode(values), "<f4")
            for name, values in found["features"].items()
        }
    return ItemChange(item_id, found["deleted"], features, found["columns"])
