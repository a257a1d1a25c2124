"""Impressions and outcomes in Redis: arguments of the scripts, and lists of impressions."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from time import time

import orjson

from bundle.events.keys import Keys
from bundle.events.outcomes import (
    DAY,
    IMPRESSIONS,
    Impression,
    Outcome,
    Retention,
    item_digest,
)
from service.observability.logs import LOGGER


def impression_scripts(
    keys: Keys, impressions: Sequence[Impression], retention: Retention
) -> Iterator[tuple[list[str], list[str | bytes | int]]]:
    """Keys of ADD_IMPRESSIONS and its arguments after the first, for each partition of users."""
    oldest = int((time() - retention.results) // DAY)
    parts: defaultdict[str, list[Impression]] = defaultdict(list)
    for one in impressions:
        parts[keys.log(one.user_id)].append(one)
    for part in parts.values():
        names: list[str] = []
        values: list[str | bytes | int] = [
            *(IMPRESSIONS, retention.impressions, retention.results, oldest)
        ]
        for one in part:
            user = one.user_id
            names += keys.user(user), keys.shown(user), keys.outcomes(user)
            exposure = b"" if one.arm is None else orjson.dumps([one.day, one.arm])
            values += one.pack(), exposure
        yield names, values


def outcome_field(outcome: Outcome) -> bytes:
    """Field of an outcome in the hash of its user."""
    shown, event = outcome.impression, outcome.event
    digest = item_digest(event.item_id)
    return orjson.dumps([shown.day, shown.arm, event.type, shown.timestamp, digest])


def unpack_impressions(user_id: str, packed: Sequence[bytes]) -> list[Impression]:
    """A user's impressions, newest first, without those that cannot be read."""
    found = []
    for one in packed:
        try:
            found.append(Impression.unpack(user_id, one))
        except (ValueError, TypeError) as error:
            LOGGER.warning("impression_unreadable", error=type(error).__name__)
    return sorted(found, key=lambda one: one.timestamp, reverse=True)
