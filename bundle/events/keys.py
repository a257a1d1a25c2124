"""Names of the service's state: Redis keys, SQLite tables and the file that holds them.

The service writes the state and a refresh reads it. In Redis all keys begin with
`drepmrec:<namespace>:`. Users are spread over PARTITIONS hash tags, so that all keys of a user lie
in one slot of a cluster:

| key | value |
|---|---|
| `{events-<p>}:log` | stream of the partition's events; fields as in `Event` |
| `{events-<p>}:user:<user_id>` | string: the user's recent events, a JSON line each, oldest first |
| `{events-<p>}:once:<digest>` | empty string: an idempotency key that the user has sent |
| `{notes}:began`, `{notes}:newest` | a number below that of the first change; that of the newest |
| `{notes}:order` | sorted set of `<kind>:<name>` by number |
| `{notes}:bodies` | hash from `<kind>:<name>` to JSON |
| `{…}:probe` | never exists: the target of commands that tell whether Redis takes writes |
| `pages:<token>` | JSON: a ranking that a client reads page by page |
| `{events-<p>}:shown:<user_id>` | list: the user's newest impressions, packed, newest first |
| `{events-<p>}:outcomes:<user_id>` | hash: the user's exposures and outcomes, see below |
| `{events-<p>}:pages_of:<user_id>` | sorted set: the user's tokens by expiry, s since 1970 |
| `versions` | sorted set: bundle versions by expiry of their last user vector, s since 1970 |
| `<bundle version>:user_vector:<user_id>` | a user vector, see `bundle.events.vector_codec` |

The recent events of an erased user begin with the line `erased` and do not expire: otherwise the
interactions in an older bundle would count again. In SQLite the tables of SCHEMA hold the same, but
for vectors. The keys and tables `pages_of…` and `versions` tell an erasure what to delete.

The hash of exposures and outcomes has fields in JSON: `[day, arm]` with the number of impressions,
and `[day, arm, type, timestamp of the impression, digest of the item]` with 1. A day is that of the
impression, in days since 1970. `bundle.events.outcomes` describes them.

Numbers of changes begin at the current time in µs since 1970. So do numbers of events in SQLite, at
each start. Both therefore keep growing after the state was lost or an older copy was restored.
"""

from hashlib import blake2b
from zlib import crc32

STATE_FILE = "state.sqlite3"
"""Name of the SQLite file in a local store, if no other path is given."""
PARTITIONS = 16
"""Hash tags over which users are spread: the largest number of cluster nodes that share them."""
ONCE_SECONDS = 7 * 24 * 3600
"""Time for which an idempotency key is remembered, in seconds: a week, because no client retries
for longer."""
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
CREATE TABLE IF NOT EXISTS pages_of_users (
    user_id TEXT NOT NULL, token TEXT NOT NULL, expires REAL NOT NULL,
    PRIMARY KEY (user_id, token)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS pages_of_users_expire ON pages_of_users (expires);
CREATE TABLE IF NOT EXISTS shown (
    user_id TEXT NOT NULL, timestamp REAL NOT NULL, body BLOB NOT NULL, expires REAL NOT NULL);
CREATE INDEX IF NOT EXISTS shown_to_user ON shown (user_id, timestamp);
CREATE INDEX IF NOT EXISTS shown_expire ON shown (expires);
CREATE TABLE IF NOT EXISTS exposures (
    user_id TEXT NOT NULL, arm TEXT NOT NULL, day INTEGER NOT NULL, number INTEGER NOT NULL,
    expires REAL NOT NULL, PRIMARY KEY (user_id, arm, day)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS exposures_expire ON exposures (expires);
CREATE TABLE IF NOT EXISTS outcomes (
    user_id TEXT NOT NULL, shown REAL NOT NULL, item INTEGER NOT NULL, type TEXT NOT NULL,
    arm TEXT, day INTEGER NOT NULL, expires REAL NOT NULL,
    PRIMARY KEY (user_id, shown, item, type)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS outcomes_expire ON outcomes (expires);
"""
"""Tables of the SQLite state; every statement may be run again."""


class Keys:
    """Names of Redis keys.

    Args:
        namespace: separates services that share a Redis.
    """

    def __init__(self, namespace: str) -> None:
        self._prefix = f"drepmrec:{namespace}:"
        notes = f"{self._prefix}{{notes}}:"
        self.notes = [f"{notes}{part}" for part in ("began", "newest", "order", "bodies")]
        self.versions = f"{self._prefix}versions"
        self.logs = [f"{self._prefix}{{events-{p}}}:log" for p in range(PARTITIONS)]
        tags = ["notes", *(f"events-{p}" for p in range(PARTITIONS))]
        self.probes = [f"{self._prefix}{{{tag}}}:probe".encode() for tag in tags]

    def log(self, user_id: str) -> str:
        """The stream of the user's partition."""
        return self.logs[_partition(user_id)]

    def user(self, user_id: str) -> str:
        """The user's recent events."""
        return f"{self._prefix}{{events-{_partition(user_id)}}}:user:{user_id}"

    def once(self, user_id: str, key: str) -> str:
        """An idempotency key of one of the user's events."""
        return f"{self._prefix}{{events-{_partition(user_id)}}}:once:{once_digest(user_id, key)}"

    def shown(self, user_id: str) -> str:
        """The user's newest impressions."""
        return f"{self._prefix}{{events-{_partition(user_id)}}}:shown:{user_id}"

    def outcomes(self, user_id: str) -> str:
        """The user's exposures and outcomes."""
        return f"{self._prefix}{{events-{_partition(user_id)}}}:outcomes:{user_id}"

    def pages(self, token: str) -> str:
        """A ranking that a client reads page by page."""
        return f"{self._prefix}pages:{token}"

    def pages_of(self, user_id: str) -> str:
        """The tokens of the user's rankings."""
        return f"{self._prefix}{{events-{_partition(user_id)}}}:pages_of:{user_id}"


def vector_key_prefix(namespace: str, version: str) -> bytes:
    """Key of a user vector, up to the user_id.

    The bundle's version is part of it: vectors of two versions never mix, even while some replicas
    still run the older one.
    """
    return f"drepmrec:{namespace}:{version}:user_vector:".encode()


def once_digest(user_id: str, key: str) -> str:
    """Digest of a user's idempotency key; it outlives an erasure, so it must not name the user."""
    return blake2b(f"{len(user_id)}:{user_id}{key}".encode(), digest_size=16).hexdigest()


def _partition(user_id: str) -> int:
    return crc32(user_id.encode()) % PARTITIONS
