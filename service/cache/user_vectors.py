"""User vectors: from the process's cache, from Redis, or from the bundle."""

import asyncio
from collections import OrderedDict
from copy import copy
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.observability.metrics import Metrics
from service.redis.errors import RedisCallError

if TYPE_CHECKING:
    from service.cache.redis import RedisVectorCache


class FoundVector(NamedTuple):
    """A user's vector and its origin.

    Attributes:
        vector: [D] float32.
        cached: whether it came from a cache.
        degraded: whether a cache failed; the vector is correct anyway.
    """

    vector: NDArray[np.float32]
    cached: bool
    degraded: bool


class LocalVectorCache:
    """The most recently used vectors of one bundle.

    Args:
        size: maximum number of vectors, at least 1.
    """

    degraded = False
    """It cannot fail; the shared cache can."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._vectors: OrderedDict[str, NDArray[np.float32]] = OrderedDict()

    async def get(self, user_id: str) -> NDArray[np.float32] | None:
        """The vector [D] of a user; None if it is not cached."""
        vector = self._vectors.get(user_id)
        if vector is not None:
            self._vectors.move_to_end(user_id)
        return vector

    def put(self, user_id: str, vector: NDArray[np.float32]) -> None:
        """Cache a vector [D]; the one that was used longest ago makes room."""
        self._vectors[user_id] = vector
        self._vectors.move_to_end(user_id)
        if len(self._vectors) > self._size:
            self._vectors.popitem(last=False)

    def drop(self, user_id: str) -> None:
        """Remove a vector."""
        self._vectors.pop(user_id, None)

    def newest(self, n: int) -> list[str]:
        """At most n user_ids, the most recently used first."""
        return list(islice(reversed(self._vectors), n))


class UserVectors:
    """Vectors of the users of one bundle, through two caches.

    Args:
        rows: [U, D] user vectors of the bundle.
        local: the cache in this process, asked first; None for no such cache.
        remote: the cache that all replicas share, asked next; None for no such cache.
        metrics: count look-ups.
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

    def measured_by(self, metrics: Metrics) -> "UserVectors":
        """The same vectors, whose look-ups are counted elsewhere."""
        other = copy(self)
        other._metrics = metrics
        return other

    @property
    def degraded(self) -> bool:
        """True while a cache is known to fail."""
        return self._remote is not None and self._remote.degraded

    async def get(self, user_id: str, user_idx: int, ask_remote: bool = True) -> FoundVector:
        """The vector of a known user, which is the bundle's even if the caches fail.

        Args:
            user_id: the user.
            user_idx: the user's row in the bundle.
            ask_remote: whether the shared cache may be asked. A request that has waited for Redis
                in vain does not wait again.
        """
        if self._local is not None:
            vector = await self._local.get(user_id)
            if vector is not None:
                self._metrics.local_hit.inc()
                return FoundVector(vector, cached=True, degraded=self.degraded)
            self._metrics.local_miss.inc()
        if self._remote is None:
            return self._keep(user_id, FoundVector(self._rows[user_idx], False, False))
        if not ask_remote:
            return FoundVector(self._rows[user_idx], cached=False, degraded=True)
        flight = self._flights.get(user_id)
        if flight is None:
            flight = asyncio.create_task(self._fetch(self._remote, user_id, user_idx))
            self._flights[user_id] = flight
            flight.add_done_callback(lambda _: self._flights.pop(user_id))
        # Shielded: cancelling one waiter must not cancel the look-up that others share.
        return await asyncio.shield(flight)

    def recent(self, n: int) -> list[str]:
        """At most n user_ids whose vectors were used most recently."""
        return self._local.newest(n) if self._local is not None else []

    def forget(self, user_id: str) -> None:
        """Remove an erased user's vector from the caches."""
        if self._local is not None:
            self._local.drop(user_id)
        if self._remote is not None:
            self._remote.forget(user_id)

    async def _fetch(self, remote: "RedisVectorCache", user_id: str, user_idx: int) -> FoundVector:
        try:
            vector = await remote.get(user_id)
        except RedisCallError as failure:
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
