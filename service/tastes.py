"""What a request knows of a user: the bundle's vector, or one of history and recent events."""

from collections import OrderedDict
from collections.abc import Sequence
from time import perf_counter, time
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bundle.catalogue import Catalogue
from bundle.events import Event
from bundle.history import fold_in, same_history, weigh
from bundle.loading import Bundle
from bundle.overlay import NO_ITEMS, Rows
from service.feed import Feed
from service.metrics import Metrics
from service.schemas import FallbackReason, Source
from service.state import NOTHING, State, StateError
from service.user_vectors import UserVectors

Vector = NDArray[np.float32]
_Known = tuple[int | None, Sequence[Event]]
NOBODY = NO_ITEMS, np.empty(0, np.float32)
"""The history of somebody who is not in the bundle."""


class Taste(NamedTuple):
    """What is known of a user; a frozen dataclass takes 2 µs longer to make.

    Attributes:
        vector: [D]; None if nothing is known: then the popular items are the answer.
        source: what the vector was made from.
        reason: why there is none.
        cached: whether a cache had it.
        degraded: whether something could not be asked; without the state, recent events are
            missing.
        history: item_idx, ascending, of what the user interacted with.
        made_at: when the vector was made, s since 1970.
    """

    vector: Vector | None
    source: Source
    reason: FallbackReason | None
    cached: bool
    degraded: bool
    history: Rows
    made_at: float


class Tastes:
    """The users of one bundle, and those who came since.

    Args:
        bundle: it.
        vectors: of its users.
        state: where recent events are.
        feed: which users were erased, should the state not answer.
        size: folded-in vectors that are kept.
        metrics: where look-ups are timed and counted.
    """

    def __init__(
        self,
        bundle: Bundle,
        vectors: UserVectors,
        state: State,
        feed: Feed,
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
        self._folded: OrderedDict[str, tuple[_Known, Catalogue, Taste]] = OrderedDict()
        self._metrics = metrics

    @property
    def degraded(self) -> bool:
        """Whether a part is known not to work at the moment."""
        return self.vectors.degraded or self._state.degraded

    def forget(self, user_id: str) -> None:
        """Drop what is cached of a user."""
        self._folded.pop(user_id, None)
        self.vectors.forget(user_id)

    async def erase(self, user_id: str) -> None:
        """Drop what is cached of a user, here and in Redis."""
        self.forget(user_id)
        await self.vectors.erase(user_id)

    async def get(self, user_id: str, catalogue: Catalogue) -> Taste:
        """What is known of a user, by the items as they are now; this never fails."""
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
            taste = await self._fold_in(user_id, user_idx, heard.events, catalogue)
        else:
            taste = await self._trained(user_id, user_idx, degraded, catalogue)
        self._metrics.vector_seconds.observe(perf_counter() - started)
        return taste

    def user_idx(self, user_id: str, erased: bool) -> int | None:
        """The row of a user, None if there is none or it must not be used."""
        if erased and not self._feed.in_bundle(user_id, self._bundle):
            return None
        return self._bundle.users.get(user_id)

    def _seen(self, user_idx: int | None, catalogue: Catalogue) -> Rows:
        return NO_ITEMS if user_idx is None else catalogue.current(self._bundle.seen.row(user_idx))

    async def _trained(
        self, user_id: str, user_idx: int | None, degraded: bool, catalogue: Catalogue
    ) -> Taste:
        seen = self._seen(user_idx, catalogue)
        if user_idx is None or not self._has_vector[user_idx]:
            reason: FallbackReason = "unknown_user" if user_idx is None else "no_interactions"
            degraded = degraded or self.degraded
            return Taste(None, "popular", reason, False, degraded, seen, self._made_at)
        found = await self.vectors.get(user_id, user_idx)
        return Taste(
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
    ) -> Taste:
        known = self._folded.get(user_id)
        if known is not None and known[0] == (user_idx, events) and known[1] is catalogue:
            self._folded.move_to_end(user_id)
            return known[2]
        seen, counts = NOBODY if user_idx is None else self._bundle.history(user_idx)
        seen = catalogue.successors(seen)
        history, weights = weigh(seen, counts, catalogue, events)
        before = weigh(seen, counts, catalogue, ())
        if user_idx is not None and same_history((history, weights), before):
            # The bundle has these events.
            return await self._trained(user_id, user_idx, False, catalogue)
        vector = fold_in(self._bundle, catalogue.vectors(history), weights)
        if vector is None:
            newest = {event.item_id: event.weight for event in events}
            liked = (weights > 0).any() or any(weight > 0 for weight in newest.values())
            reason: FallbackReason = "unknown_items" if liked else "no_interactions"
            return Taste(None, "popular", reason, False, self.degraded, history, time())
        taste = Taste(vector, "folded_in", None, False, self.degraded, history, time())
        if self._size:
            kept = Taste(vector, "folded_in", None, True, False, history, taste.made_at)
            self._folded[user_id] = (user_idx, events), catalogue, kept
            if len(self._folded) > self._size:
                self._folded.popitem(last=False)
        return taste
