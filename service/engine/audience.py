"""Audience of an item: the users in whose recommendations it stands highest."""

import asyncio
from functools import partial
from typing import NamedTuple

import numpy as np

from bundle.search.audience import likely_users, ranks
from bundle.types import Vector
from service.engine.engine import Engine

LIKELY = 4
"""Number of users who are ranked for each one of an audience."""
LEAST = 50
"""Number of users who are ranked for the smallest audience: some may know the item already."""


class Fan(NamedTuple):
    """A user of an item's audience.

    Attributes:
        user_id: external id.
        rank: position of the item, from 1, in the user's recommendations.
        score: of the item for the user.
    """

    user_id: str
    rank: int
    score: float


async def find_audience(
    engine: Engine, vector: Vector, k: int, item_idx: int | None = None
) -> list[Fan]:
    """The k users in whose recommendations an item stands highest, the highest first.

    They are found among the bundle's users whose vectors are most like the item's, and ranked by
    their vectors as they are now, with newer events. It leaves no trace in the metrics.

    Args:
        engine: of the bundle.
        vector: [D] of the item.
        k: how many.
        item_idx: of the item, if the catalogue has it; users who know it are left out.
    """
    loop = asyncio.get_running_loop()
    bundle, catalogue = engine.bundle, engine.catalogue
    find = partial(likely_users, bundle, vector, max(k * LIKELY, LEAST))
    likely = await loop.run_in_executor(engine.threads, find)
    ids = [bundle.users[row] for row in likely.tolist()]
    look_up = engine.unmeasured.profiles.get
    profiles = await asyncio.gather(*(look_up(user_id, catalogue) for user_id in ids))
    new = [
        (user_id, profile.vector, profile.history)
        for user_id, profile in zip(ids, profiles, strict=True)
        if profile.vector is not None
        and (item_idx is None or not (profile.history == item_idx).any())
    ]
    if not new:
        return []
    users = np.stack([user for _, user, _ in new])
    rank = partial(ranks, catalogue, vector, users, [seen for _, _, seen in new], item_idx)
    places = await loop.run_in_executor(engine.threads, rank)
    fans = map(Fan, [user_id for user_id, _, _ in new], places.tolist(), (users @ vector).tolist())
    return sorted(fans, key=lambda fan: (fan.rank, -fan.score))[:k]
