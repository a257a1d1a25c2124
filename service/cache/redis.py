"""Cache of user vectors in Redis, under keys with the bundle's version."""

import random
from time import time

import numpy as np
from numpy.typing import NDArray

from bundle.events.keys import Keys, vector_key_prefix
from bundle.events.vector_codec import decode_vector, encode_vector
from service.observability.metrics import Metrics
from service.redis.batched_reader import BatchedReader
from service.redis.errors import RedisCallError
from service.settings import Settings

RECORD_SECONDS = 60.0
"""Interval at which a process records the version whose vectors it writes, in seconds."""


class RedisVectorCache:
    """Vectors of one bundle's users, shared by all replicas.

    The TTL varies at random, so that vectors written together do not expire together.

    Args:
        redis: the connection to Redis.
        version: version of the bundle.
        dim: D, number of columns of its vectors.
        settings: namespace and TTL.
        metrics: count look-ups.
    """

    def __init__(
        self, redis: BatchedReader, version: str, dim: int, settings: Settings, metrics: Metrics
    ) -> None:
        self._redis = redis
        self._dim = dim
        self._version = version
        self._versions = Keys(settings.redis_namespace).versions
        self._record_at = 0.0
        self._prefix = vector_key_prefix(settings.redis_namespace, version)
        self._ttl = settings.vector_ttl
        self._jitter = settings.vector_ttl_jitter
        self._random = random.Random()
        self._errors = metrics.redis_errors.labels("corrupt")
        self._lookups = metrics.redis_lookups

    @property
    def degraded(self) -> bool:
        """True while the circuit breaker keeps calls from Redis."""
        return self._redis.degraded

    async def get(self, user_id: str) -> NDArray[np.float32] | None:
        """The vector [D] of a user; None if it is not cached.

        Raises:
            RedisCallError: Redis did not answer with a vector.
        """
        key = self._prefix + user_id.encode()
        try:
            value = await self._redis.get(key)
        except RedisCallError as failure:
            self._lookups["skipped" if failure.kind == "circuit_open" else "failed"].inc()
            raise
        if value is None:
            self._lookups["miss"].inc()
            return None
        vector = decode_vector(key, value, self._dim)
        if vector is None:
            self._errors.inc()
            self._lookups["failed"].inc()
            raise RedisCallError("corrupt")
        self._lookups["hit"].inc()
        return vector

    def put(self, user_id: str, vector: NDArray[np.float32]) -> None:
        """Write a vector [D] soon, if possible; never waits and never fails."""
        if not self._recorded():
            return  # an erasure would not find it
        key = self._prefix + user_id.encode()
        ttl = max(1, round(self._ttl * self._random.uniform(1 - self._jitter, 1 + self._jitter)))
        self._redis.write("SET", key, encode_vector(key, vector), "EX", ttl)

    def _recorded(self) -> bool:
        """True if erasures know of the version, or will before the next write."""
        now = time()
        if now >= self._record_at:
            until = now + RECORD_SECONDS + self._ttl * (1 + self._jitter)
            self._redis.write("ZREMRANGEBYSCORE", self._versions, 0, now)
            if not self._redis.write("ZADD", self._versions, until, self._version):
                return False
            self._record_at = now + RECORD_SECONDS
        return True

    def forget(self, user_id: str) -> None:
        """Delete an erased user's vector again, which a write that waited may have brought back."""
        self._redis.write("DEL", self._prefix + user_id.encode())
