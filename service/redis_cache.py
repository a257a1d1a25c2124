"""User vectors in Redis, under the keys of one bundle version."""

import random

import numpy as np
from numpy.typing import NDArray

from bundle.vector_codec import decode_vector, encode_vector, key_prefix
from service.metrics import Metrics
from service.redis_link import RedisLink
from service.settings import Settings
from service.vector_cache import CacheError


class RedisVectorCache:
    """A `UserVectorCache` in Redis.

    A vector's life varies at random, so that what was written together does not expire together.

    Args:
        link: the way to Redis.
        version: the bundle's.
        dim: D of its vectors.
        settings: namespace and life of a vector.
        metrics: where look-ups are counted.
    """

    def __init__(
        self, link: RedisLink, version: str, dim: int, settings: Settings, metrics: Metrics
    ) -> None:
        self._link = link
        self._dim = dim
        self._prefix = key_prefix(settings.redis_namespace, version)
        self._ttl = settings.vector_ttl
        self._jitter = settings.vector_ttl_jitter
        self._random = random.Random()
        self._errors = metrics.redis_errors.labels("corrupt")
        self._lookups = metrics.redis_lookups

    @property
    def degraded(self) -> bool:
        """Whether Redis is left alone at the moment."""
        return self._link.degraded

    async def get(self, user_id: str) -> NDArray[np.float32] | None:
        """See `UserVectorCache`."""
        key = self._prefix + user_id.encode()
        try:
            value = await self._link.get(key)
        except CacheError as failure:
            self._lookups["skipped" if failure.kind == "left_alone" else "failed"].inc()
            raise
        if value is None:
            self._lookups["miss"].inc()
            return None
        vector = decode_vector(key, value, self._dim)
        if vector is None:
            self._errors.inc()
            self._lookups["failed"].inc()
            raise CacheError("corrupt")
        self._lookups["hit"].inc()
        return vector

    def put(self, user_id: str, vector: NDArray[np.float32]) -> None:
        """See `UserVectorCache`."""
        key = self._prefix + user_id.encode()
        ttl = max(1, round(self._ttl * self._random.uniform(1 - self._jitter, 1 + self._jitter)))
        self._link.put(key, encode_vector(key, vector), ttl)

    async def erase(self, user_id: str) -> None:
        """Delete a vector.

        Raises:
            CacheError: Redis did not say that it did.
        """
        await self._link.delete(self._prefix + user_id.encode())
