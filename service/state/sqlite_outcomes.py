"""Impressions and outcomes in the state's SQLite file; each function is a part of a transaction."""

import sqlite3
from collections.abc import Sequence
from time import time

from bundle.events.outcomes import (
    IMPRESSIONS,
    Impression,
    Outcome,
    Retention,
    attribute,
    item_digest,
)
from bundle.events.records import Event

TABLES = ("shown", "exposures", "outcomes")
"""Tables with a user's rows, each with the time at which it expires."""
ROWS = 100
"""Maximum number of rows of one statement. A statement for each row would take several times the
processor time: between two statements the thread waits for the event loop to let it run."""
# Nothing is kept of users who were erased: a record that waited may be older than the erasure.
_NEW = """
WITH new (user_id, timestamp, body, arm, day) AS (VALUES {rows}),
kept AS (SELECT * FROM new WHERE NOT EXISTS (
    SELECT 1 FROM notes WHERE kind = 'user' AND name = new.user_id))"""
_ADD = (
    _NEW
    + """
INSERT INTO shown SELECT user_id, timestamp, body, ? FROM kept"""
)
_EXPOSE = (
    _NEW
    + """
INSERT INTO exposures SELECT user_id, arm, day, count(*), ? FROM kept
WHERE arm IS NOT NULL GROUP BY user_id, arm, day
ON CONFLICT (user_id, arm, day) DO UPDATE SET number = number + excluded.number"""
)
_TRIM = f"""
WITH many AS (
    SELECT user_id FROM shown WHERE user_id IN (VALUES {{rows}})
    GROUP BY user_id HAVING count(*) > {IMPRESSIONS}),
ranked AS (
    SELECT rowid AS id, row_number() OVER (PARTITION BY user_id ORDER BY timestamp DESC) AS place
    FROM shown WHERE user_id IN many)
DELETE FROM shown WHERE rowid IN (SELECT id FROM ranked WHERE place > {IMPRESSIONS})"""
_SHOWN = f"""
SELECT body FROM shown WHERE user_id = ? ORDER BY timestamp DESC LIMIT {IMPRESSIONS}"""


def add_impressions(
    connection: sqlite3.Connection, impressions: Sequence[Impression], retention: Retention
) -> None:
    """Add impressions; see `State.add_impressions`."""
    now = time()
    for start in range(0, len(impressions), ROWS):
        part = impressions[start : start + ROWS]
        values: list[object] = []
        for one in part:
            values += one.user_id, one.timestamp, one.pack(), one.arm, one.day
        rows = _places(len(part), 5)
        connection.execute(_ADD.format(rows=rows), (*values, now + retention.impressions))
        connection.execute(_EXPOSE.format(rows=rows), (*values, now + retention.results))
        users = [*{one.user_id for one in part}]
        connection.execute(_TRIM.format(rows=_places(len(users), 1)), users)


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
        shown, item = outcome.impression, item_digest(event.item_id)
        row = (event.user_id, shown.timestamp, item, event.type, shown.arm, shown.day)
        cursor = connection.execute(
            "INSERT OR IGNORE INTO outcomes VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*row, now + retention.results),
        )
        if cursor.rowcount:
            added.append(outcome)
    return added


def _places(rows: int, columns: int) -> str:
    """Places of the values of several rows in a statement."""
    return ", ".join([f"({', '.join('?' * columns)})"] * rows)
