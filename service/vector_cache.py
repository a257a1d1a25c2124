"""Where user vectors are kept between requests: the interface, and the one in the process."""

from collections import OrderedDict
from itertools import islice
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

FailureKind = Literal["timeout", "connection", "reply", "corrupt", "left_alone"]


class CacheError(Exception):
    """A cache could not say whether it has a vector; the caller gets it elsewhere.

    Attributes:
        kind: timeout; connection (refused, reset); reply (an error or nonsense instead of a
            value); corrupt (bytes that are not this user's vector); left_alone (it failed too
            often and is not asked for a while).
    """

    def __init__(self, kind: FailureKind) -> None:
        super().__init__(kind)
        self.kind: FailureKind = kind


class UserVectorCache(Protocol):
    """User vectors [D] float32 by user_id, of one bundle."""

    @property
    def degraded(self) -> bool:
        """Whether it is known not to work at the moment."""

    async def get(self, user_id: str) -> NDArray[np.float32] | None:
        """The vector, None if it is not there.

        Raises:
            CacheError: it cannot be told.
        """

    def put(self, user_id: str, vector: NDArray[np.float32]) -> None:
        """Keep a vector, soon and if possible; never waits and never fails."""


class LocalVectorCache:
    """The most recently used vectors, in this process.

    Args:
        size: how many, at least 1.
    """

    degraded = False

    def __init__(self, size: int) -> None:
        self._size = size
        self._vectors: OrderedDict[str, NDArray[np.float32]] = OrderedDict()

    async def get(self, user_id: str) -> NDArray[np.float32] | None:
        """See `UserVectorCache`."""
        vector = self._vectors.get(user_id)
        if vector is not None:
            self._vectors.move_to_end(user_id)
        return vector

    def put(self, user_id: str, vector: NDArray[np.float32]) -> None:
        """See `UserVectorCache`."""
        self._vectors[user_id] = vector
        self._vectors.move_to_end(user_id)
        if len(self._vectors) > self._size:
            self._vectors.popitem(last=False)

    def drop(self, user_id: str) -> None:
        """Forget a vector."""
        self._vectors.pop(user_id, None)

    def newest(self, n: int) -> list[str]:
        """The users that were asked for last, n at most."""
        return list(islice(reversed(self._vectors), n))
