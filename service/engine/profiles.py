"""User profiles: a user's vector, either trained or folded in from history and recent events."""

from collections import OrderedDict
from collections.abc import Sequence
from copy import copy
from time import perf_counter, time
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bundle.catalogue.catalogue import Catalogue
from bundle.events.history import fold_in, same_history, weigh
from bundle.events.records import Event
from bundle.format.reader import Bundle
from bundle.types import NO_ITEMS, Rows, Vector
from service.cache.user_vectors import UserVectors
from service.observability.metrics import Metrics
from service.state.base import NOTHING, State, StateError
from service.state.change_feed import ChangeFeed
from service.types import AnswerSource, FallbackReason

_Known = tuple[int | None, Sequence[Event]]
NOBODY = NO_ITEMS, np.empty(0, np.float32)
"""History of a user who is not in the bundle."""


class UserProfile(NamedTuple):
    """A user's vector and history; a frozen dataclass would take 2 µs longer to make.

    Attributes:
        vector: [D]; None if nothing is known of the user, who then gets popular items.
        source: origin of the vector.
        reason: why there is no vector.
        cached: whether the vector came from a cache.
        degraded: whether a part failed; without the state, recent events are missing.
        history: ascending item_idx of the user's interactions.
        made_at: time at which the vector was made, in seconds since 1970.
    """

    vector: Vector | None
    source: AnswerSource
    reason: FallbackReason | None
    cached: bool
    degraded: bool
    history: Rows
    made_at: float


class UserProfiles:
    """Profiles of the users of one bundle, and of new users.

    Args:
        bundle: the bundle.
        vectors: vectors of its users.
        state: recent events of users.
        feed: erased users, for when the state does not answer.
        size: maximum number of folded-in vectors that are cached.
        metrics: time and count look-ups.
    """

    def __init__(
        self,
        bundle: Bundle,
        vectors: UserVectors,
        state: State,
        feed: ChangeFeed,
        size: int,
        metrics: Metrics,
    ) -> None:
        self.vectors = vectors
        self._bundle = bundle
        self._has_vector: NDArray[np.bool_] = np.any(bundle.user_vectors, axis=1)
        self._made_at = bundle.manifest.created_at.timestamp()
        self._state = state
        self._feed = feed
        self._size = size
        self._folded: OrderedDict[str, tuple[_Known, Catalogue, UserProfile]] = OrderedDict()
        self._metrics = metrics

    def measured_by(self, metrics: Metrics) -> "UserProfiles":
        """The same profiles, whose look-ups are counted elsewhere."""
        other = copy(self)
        other._metrics = metrics
        other.vectors = self.vectors.measured_by(metrics)
        return other

    @property
    def degraded(self) -> bool:
        """True while a part is known to fail."""
        return self.vectors.degraded or self._state.degraded

    def forget(self, user_id: str) -> None:
        """Drop an erased user's cached vectors."""
        self._folded.pop(user_id, None)
        self.vectors.forget(user_id)

    async def get(self, user_id: str, catalogue: Catalogue) -> UserProfile:
        """The profile of a user, with the items as they are now; never fails."""
        started = perf_counter()
        try:
            heard, degraded = await self._state.user(user_id), False
        except StateError:
            self._metrics.state_failures.labels("user").inc()
            heard, degraded = NOTHING, True
        self._metrics.state_seconds.observe(perf_counter() - started)
        erased = heard.erased or (degraded and self._feed.erased(user_id))
        user_idx = self.user_idx(user_id, erased)
        started = perf_counter()
        if heard.events:
            profile = await self._fold_in(user_id, user_idx, heard.events, catalogue)
        else:
            profile = await self._trained(user_id, user_idx, degraded, catalogue)
        self._metrics.vector_seconds.observe(perf_counter() - started)
        return profile

    def user_idx(self, user_id: str, erased: bool) -> int | None:
        """The row of a user; None if there is none, or if the user was erased since."""
        if erased and not self._feed.in_bundle(user_id, self._bundle):
            return None
        return self._bundle.users.get(user_id)

    def _seen(self, user_idx: int | None, catalogue: Catalogue) -> Rows:
        return NO_ITEMS if user_idx is None else catalogue.current(self._bundle.seen.row(user_idx))

    async def _trained(
        self, user_id: str, user_idx: int | None, degraded: bool, catalogue: Catalogue
    ) -> UserProfile:
        seen = self._seen(user_idx, catalogue)
        if user_idx is None or not self._has_vector[user_idx]:
            reason: FallbackReason = "unknown_user" if user_idx is None else "no_interactions"
            degraded = degraded or self.degraded
            return UserProfile(None, "popular", reason, False, degraded, seen, self._made_at)
        found = await self.vectors.get(user_id, user_idx, ask_remote=not degraded)
        return UserProfile(
            found.vector,
            "known_user",
            None,
            found.cached,
            degraded or found.degraded,
            seen,
            self._made_at,
        )

    async def _fold_in(
        self, user_id: str, user_idx: int | None, events: Sequence[Event], catalogue: Catalogue
    ) -> UserProfile:
        known = self._folded.get(user_id)
        if known is not None and known[0] == (user_idx, events) and known[1] is catalogue:
            self._folded.move_to_end(user_id)
            return known[2]
        seen, counts = NOBODY if user_idx is None else self._bundle.history(user_idx)
        seen = catalogue.successors(seen)
        history, weights = weigh(seen, counts, catalogue, events)
        before = weigh(seen, counts, catalogue, ())
        if user_idx is not None and same_history((history, weights), before):
            # The events are in the bundle already.
            return await self._trained(user_id, user_idx, False, catalogue)
        vector = fold_in(self._bundle, catalogue.vectors(history), weights)
        if vector is None:
            newest = {event.item_id: event.weight for event in events}
            liked = (weights > 0).any() or any(weight > 0 for weight in newest.values())
            reason: FallbackReason = "unknown_items" if liked else "no_interactions"
            return UserProfile(None, "popular", reason, False, self.degraded, history, time())
        profile = UserProfile(vector, "folded_in", None, False, self.degraded, history, time())
        if self._size:
            kept = UserProfile(vector, "folded_in", None, True, False, history, profile.made_at)
            self._folded[user_id] = (user_idx, events), catalogue, kept
            if len(self._folded) > self._size:
                self._folded.popitem(last=False)
        return profile
