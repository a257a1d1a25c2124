"""Impressions and outcomes in the state's SQLite file; each function is a part of a transaction."""

import sqlite3
from collections.abc import Sequence
from time import time
from zlib import crc32

from bundle.events.outcomes import IMPRESSIONS, Impression, Outcome, Retention, attribute
from bundle.events.records import Event

TABLES = ("shown", "exposures", "outcomes")
"""Tables with a user's rows, each with the time at which it expires."""
# Nothing is kept of users who were erased: a record that waited may be older than the erasure.
_ADD = """
INSERT INTO shown SELECT ?1, ?2, ?3, ?4
WHERE NOT EXISTS (SELECT 1 FROM notes WHERE kind = 'user' AND name = ?1)"""
_TRIM = f"""
DELETE FROM shown WHERE user_id = ?1 AND timestamp < (
    SELECT timestamp FROM shown WHERE user_id = ?1
    ORDER BY timestamp DESC LIMIT 1 OFFSET {IMPRESSIONS - 1})"""
_EXPOSE = """
INSERT INTO exposures VALUES (?, ?, ?, 1, ?)
ON CONFLICT (user_id, arm, day) DO UPDATE SET number = number + 1"""
_SHOWN = f"""
SELECT body FROM shown WHERE user_id = ? ORDER BY timestamp DESC LIMIT {IMPRESSIONS}"""


def add_impressions(
    connection: sqlite3.Connection, impressions: Sequence[Impression], retention: Retention
) -> None:
    """Add impressions; see `State.add_impressions`."""
    now = time()
    for one in impressions:
        row = (one.user_id, one.timestamp, one.pack(), now + retention.impressions)
        if not connection.execute(_ADD, row).rowcount:
            continue
        connection.execute(_TRIM, (one.user_id,))
        if one.arm is not None:
            expires = now + retention.results
            connection.execute(_EXPOSE, (one.user_id, one.arm, one.day, expires))


def add_outcomes(
    connection: sqlite3.Connection, events: Sequence[Event], retention: Retention
) -> list[Outcome]:
    """Add the outcomes of events; see `State.add_outcomes`."""
    now = time()
    added = []
    for event in events:
        rows = connection.execute(_SHOWN, (event.user_id,)).fetchall()
        impressions = (Impression.unpack(event.user_id, body) for (body,) in rows)
        outcome = attribute(event, impressions, retention.window)
        if outcome is None:
            continue
        shown, item = outcome.impression, crc32(event.item_id.encode())
        row = (event.user_id, shown.timestamp, item, event.type, shown.arm, shown.day)
        cursor = connection.execute(
            "INSERT OR IGNORE INTO outcomes VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*row, now + retention.results),
        )
        if cursor.rowcount:
            added.append(outcome)
    return added
