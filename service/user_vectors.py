"""A user's vector: from this process, from Redis, or from the bundle."""

import asyncio
import contextlib
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.metrics import Metrics
from service.vector_cache import CacheError, LocalVectorCache

if TYPE_CHECKING:
    from service.redis_cache import RedisVectorCache


class FoundVector(NamedTuple):
    """A user vector [D] and how it was come by.

    Attributes:
        vector: [D] float32.
        cached: whether a cache had it.
        degraded: whether a cache did not work; the vector is right anyway.
    """

    vector: NDArray[np.float32]
    cached: bool
    degraded: bool


class UserVectors:
    """Vectors of the users of one bundle.

    Args:
        rows: [U, D] of the bundle.
        local: the cache in this process, asked first.
        remote: the shared cache, asked next.
        metrics: where look-ups are counted.
    """

    def __init__(
        self,
        rows: NDArray[np.float32],
        local: LocalVectorCache | None,
        remote: "RedisVectorCache | None",
        metrics: Metrics,
    ) -> None:
        self._rows = rows
        self._local = local
        self._remote = remote
        self._metrics = metrics
        self._flights: dict[str, asyncio.Task[FoundVector]] = {}

    @property
    def degraded(self) -> bool:
        """Whether a cache is known not to work at the moment."""
        return self._remote is not None and self._remote.degraded

    async def get(self, user_id: str, user_idx: int) -> FoundVector:
        """The vector of a known user; whatever happens to the caches, it is the bundle's."""
        if self._local is not None:
            vector = await self._local.get(user_id)
            if vector is not None:
                self._metrics.local_hit.inc()
                return FoundVector(vector, cached=True, degraded=self.degraded)
            self._metrics.local_miss.inc()
        if self._remote is None:
            return self._keep(user_id, FoundVector(self._rows[user_idx], False, False))
        flight = self._flights.get(user_id)
        if flight is None:
            flight = asyncio.create_task(self._fetch(self._remote, user_id, user_idx))
            self._flights[user_id] = flight
            flight.add_done_callback(lambda _: self._flights.pop(user_id))
        # Who gives up does not take the others' flight with it.
        return await asyncio.shield(flight)

    def recent(self, n: int) -> list[str]:
        """Users whose vectors were used last, n at most."""
        return self._local.newest(n) if self._local is not None else []

    def forget(self, user_id: str) -> None:
        """Drop a user's vector from the cache in this process."""
        if self._local is not None:
            self._local.drop(user_id)

    async def erase(self, user_id: str) -> None:
        """Drop a user's vector from the shared cache; where it fails, the vector's life ends it."""
        if self._remote is not None:
            with contextlib.suppress(CacheError):
                await self._remote.erase(user_id)

    async def _fetch(self, remote: "RedisVectorCache", user_id: str, user_idx: int) -> FoundVector:
        try:
            vector = await remote.get(user_id)
        except CacheError as failure:
            found = FoundVector(self._rows[user_idx], cached=False, degraded=True)
            if failure.kind == "corrupt":
                remote.put(user_id, found.vector)
            return self._keep(user_id, found)
        if vector is not None:
            return self._keep(user_id, FoundVector(vector, cached=True, degraded=False))
        found = FoundVector(self._rows[user_idx], cached=False, degraded=False)
        remote.put(user_id, found.vector)
        return self._keep(user_id, found)

    def _keep(self, user_id: str, found: FoundVector) -> FoundVector:
        if self._local is not None:
            self._local.put(user_id, found.vector)
        return found
