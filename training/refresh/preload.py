"""Vectors of the next bundle's users, in Redis before anybody is served by it."""

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import redis
from tqdm import tqdm

from bundle.loading import Bundle
from bundle.vector_codec import encode_vector, key_prefix

PIPELINE = 2_000
"""Vectors that are written at a time."""
JITTER = 0.1
"""Share by which a vector's life varies, so that not all expire together."""


@dataclass(frozen=True)
class Preload:
    """Writes vectors under a version's own keys; those of the version before expire.

    Attributes:
        client: of the Redis that the service uses.
        namespace: the service's `--redis-namespace`.
        users: how many users at most: those who did most.
        ttl: life of a vector, s.
    """

    client: Any
    namespace: str
    users: int
    ttl: int

    def load(self, candidate: Bundle) -> None:
        """Write the vectors; a Redis that fails is left alone: it is a cache."""
        lengths = candidate.seen.lengths
        rows = np.flatnonzero(lengths)
        rows = rows[np.argsort(-lengths[rows], kind="stable")][: self.users]
        prefix = key_prefix(self.namespace, candidate.version)
        with tqdm(total=len(rows), unit="user", desc="preloading", disable=None) as progress:
            for start in range(0, len(rows), PIPELINE):
                block = rows[start : start + PIPELINE].tolist()
                pipeline = self.client.pipeline(transaction=False)
                for row in block:
                    key = prefix + candidate.users[row].encode()
                    life = round(self.ttl * random.uniform(1 - JITTER, 1 + JITTER))
                    value = encode_vector(key, candidate.user_vectors[row])
                    pipeline.set(key, value, ex=max(life, 1))
                try:
                    pipeline.execute()
                except redis.RedisError as error:
                    tqdm.write(f"note: vectors are not preloaded: Redis: {error}")
                    return
                progress.update(len(block))
