"""What happens while a bundle is served: the service writes it down, the refresh reads it.

Events are interactions. Notes are everything else that outlives a bundle: changed items and erased
users, each with a number that counts up, so that a reader can ask for what is new.

In Redis, under `drepmrec:<namespace>:`, users are spread over PARTITIONS hash tags, so that what
belongs to a user lies in one slot of a cluster:

| key | |
|---|---|
| `{events-<p>}:log` | stream of the partition's events, fields as in `Event` |
| `{events-<p>}:user:<user_id>` | string: the user's recent events, a JSON line each, oldest first |
| `{events-<p>}:once:<digest>` | an idempotency key of a user that was seen |
| `{notes}:began`, `{notes}:newest` | a number below the first note's, and the newest note's |
| `{notes}:order` | sorted set of `<kind>:<name>` by number |
| `{notes}:bodies` | hash of `<kind>:<name>` → JSON |
| `pages:<token>` | a ranking that somebody pages through |

The recent events of a user who was erased begin with the line `erased`, and do not expire: a bundle
from before would count again. In SQLite the tables of SCHEMA hold the same. Numbers of notes, and
in SQLite of events, begin at the µs since 1970, events' at each start, so that they go on where all
else was lost, or an older copy was restored.
"""

import base64
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal, Self
from zlib import crc32

import numpy as np
import orjson
from numpy.typing import NDArray

from bundle.overlay import ItemChange

PARTITIONS = 16
RECENT = 500
"""Events of a user that count until the next refresh; older ones wait for it."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY AUTOINCREMENT, user_id TEXT NOT NULL, item_id TEXT NOT NULL,
    type TEXT NOT NULL, timestamp REAL NOT NULL, weight REAL NOT NULL, arm TEXT);
INSERT INTO sqlite_sequence SELECT 'events', 0
    WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'events');
UPDATE sqlite_sequence
    SET seq = max(seq, CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER))
    WHERE name = 'events';
CREATE INDEX IF NOT EXISTS events_of_user ON events (user_id, number);
CREATE TABLE IF NOT EXISTS once (digest TEXT PRIMARY KEY, expires REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS once_expires ON once (expires);
CREATE TABLE IF NOT EXISTS notes (
    kind TEXT NOT NULL, name TEXT NOT NULL, number INTEGER NOT NULL UNIQUE, body BLOB NOT NULL,
    PRIMARY KEY (kind, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pages (
    token TEXT PRIMARY KEY, body BLOB NOT NULL, expires REAL NOT NULL);
CREATE INDEX IF NOT EXISTS pages_expire ON pages (expires);
"""


@dataclass(frozen=True, slots=True)
class Event:
    """An interaction of a user with an item.

    Attributes:
        user_id, item_id: who and what; either may be new.
        type: the caller's word for it: view, purchase, dislike, …
        timestamp: s since 1970, UTC.
        weight: how much it counts; below 0 it counts against.
        arm: `<experiment>/<arm>` that the user was in, if any.
    """

    user_id: str
    item_id: str
    type: str
    timestamp: float
    weight: float
    arm: str | None = None

    def line(self) -> bytes:
        """A JSON line with all but the user."""
        fields = [self.item_id, self.weight, self.timestamp, self.type, self.arm]
        return orjson.dumps(fields) + b"\n"

    @classmethod
    def of_line(cls, user_id: str, line: bytes) -> Self:
        """Read what `line` wrote.

        Raises:
            ValueError: it is something else.
        """
        item_id, weight, timestamp, kind, arm = orjson.loads(line)
        return cls(user_id, item_id, kind, timestamp, weight, arm)


NoteKind = Literal["item", "user"]


@dataclass(frozen=True, slots=True)
class Note:
    """Something that outlives a bundle: an item's newest change, or that a user was erased.

    Attributes:
        kind: what `name` is the id of.
        name: item_id or user_id.
        number: counts up over all notes; a newer note of the same name replaces this one.
        body: JSON.
    """

    kind: NoteKind
    name: str
    number: int
    body: bytes


def pack_change(change: ItemChange) -> bytes:
    """A change as the body of a note; features as base64 of little-endian float32."""
    features: dict[str, str] | None = None
    if change.features is not None:
        features = {
            name: base64.b64encode(np.asarray(values, "<f4").tobytes()).decode()
            for name, values in change.features.items()
        }
    body = {"deleted": change.deleted, "features": features, "columns": change.columns}
    return orjson.dumps(body)


def unpack_change(item_id: str, body: bytes) -> ItemChange:
    """Read what `pack_change` wrote.

    Raises:
        ValueError, KeyError, TypeError: it is something else.
    """
    found: dict[str, Any] = orjson.loads(body)
    is_whole = isinstance(found["deleted"], bool)
    if not is_whole or not all(isinstance(found[p], dict | None) for p in ("features", "columns")):
        raise TypeError("no change of an item")
    features: dict[str, NDArray[np.float32]] | None = None
    if found["features"] is not None:
        features = {
            name: np.frombuffer(base64.b64decode(values), "<f4")
            for name, values in found["features"].items()
        }
    return ItemChange(item_id, found["deleted"], features, found["columns"])


class Keys:
    """Names of the keys in Redis.

    Args:
        namespace: so that several services can share a Redis.
    """

    def __init__(self, namespace: str) -> None:
        self._prefix = f"drepmrec:{namespace}:"
        notes = f"{self._prefix}{{notes}}:"
        self.notes = [f"{notes}{part}" for part in ("began", "newest", "order", "bodies")]
        self.logs = [f"{self._prefix}{{events-{p}}}:log" for p in range(PARTITIONS)]

    def log(self, user_id: str) -> str:
        """The stream that a user's events are in."""
        return self.logs[_partition(user_id)]

    def user(self, user_id: str) -> str:
        """A user's recent events."""
        return f"{self._prefix}{{events-{_partition(user_id)}}}:user:{user_id}"

    def once(self, user_id: str, key: str) -> str:
        """An idempotency key of one of a user's events."""
        return f"{self._prefix}{{events-{_partition(user_id)}}}:once:{once_digest(user_id, key)}"

    def pages(self, token: str) -> str:
        """A ranking that somebody pages through."""
        return f"{self._prefix}pages:{token}"


def once_digest(user_id: str, key: str) -> str:
    """Stands for a user's idempotency key: it outlives an erasure, so it must not name the user."""
    return blake2b(f"{len(user_id)}:{user_id}{key}".encode(), digest_size=16).hexdigest()


def _partition(user_id: str) -> int:
    return crc32(user_id.encode()) % PARTITIONS
