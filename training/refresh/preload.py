"""Preloading of the next bundle's user vectors into Redis before it goes live."""

import random
from dataclasses import dataclass
from time import time
from typing import Any

import numpy as np
import redis
from tqdm import tqdm

from bundle.events.keys import Keys, vector_key_prefix
from bundle.events.vector_codec import encode_vector
from bundle.format.reader import Bundle

PIPELINE = 2_000
"""Vectors per pipeline of commands."""
JITTER = 0.1
"""Random variation of a vector's TTL, as a fraction, so that not all expire at the same time."""


@dataclass(frozen=True)
class Preload:
    """Preloading into Redis; keys contain the bundle's version, and older versions expire.

    Attributes:
        client: client of the service's Redis.
        namespace: the service's `--redis-namespace`.
        users: maximum number of users; those with the longest histories are taken.
        ttl: time until a vector expires, in seconds.
    """

    client: Any
    namespace: str
    users: int
    ttl: int

    def load(self, candidate: Bundle) -> None:
        """Write the vectors; stops at the first error of Redis, which is only a cache."""
        lengths = candidate.seen.lengths
        rows = np.flatnonzero(lengths)
        rows = rows[np.argsort(-lengths[rows], kind="stable")][: self.users]
        prefix = vector_key_prefix(self.namespace, candidate.version)
        with tqdm(total=len(rows), unit="user", desc="preloading", disable=None) as progress:
            for start in range(0, len(rows), PIPELINE):
                block = rows[start : start + PIPELINE].tolist()
                pipeline = self.client.pipeline(transaction=False)
                until = time() + self.ttl * (1 + JITTER)
                pipeline.zadd(Keys(self.namespace).versions, {candidate.version: until})
                for row in block:
                    key = prefix + candidate.users[row].encode()
                    life = round(self.ttl * random.uniform(1 - JITTER, 1 + JITTER))
                    value = encode_vector(key, candidate.user_vectors[row])
                    pipeline.set(key, value, ex=max(life, 1))
                try:
                    pipeline.execute()
                    self._delete_erased(candidate, prefix)
                except redis.RedisError as error:
                    tqdm.write(f"note: preloading of vectors stopped: Redis: {error}")
                    return
                progress.update(len(block))

    def _delete_erased(self, candidate: Bundle, prefix: bytes) -> None:
        """Delete the vectors of users erased since the candidate's changes were read.

        Their erasures may have come before these vectors; later ones find the version recorded.
        """
        _, _, order, _ = Keys(self.namespace).notes
        pipeline = self.client.pipeline(transaction=False)
        for name in self.client.zrangebyscore(order, f"({candidate.manifest.taken.notes}", "+inf"):
            kind, _, user_id = name.partition(b":")
            if kind == b"user":
                pipeline.delete(prefix + user_id)
        pipeline.execute()
