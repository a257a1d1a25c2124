"""The engine for one bundle: search, user profiles and response encoding."""

import asyncio
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from bundle.catalogue.catalogue import Catalogue
from bundle.catalogue.overlay import Overlay
from bundle.format.reader import Bundle
from bundle.search.experiment import Arm
from bundle.search.options import OptionError, SearchOptions, allowed_items, search_options
from bundle.search.recommender import Recommender
from bundle.search.similarity import FUSED
from bundle.search.topk import TopK
from bundle.sorted_sets import union
from bundle.types import NO_ITEMS, Rows, Vector
from service.cache.user_vectors import LocalVectorCache, UserVectors
from service.engine.batching import SearchBatches
from service.engine.cost import CHARACTER, INLINE, explanation_cost, search_cost, text_cost
from service.engine.encoding import ResponseEncoder
from service.engine.item_overlay import ItemOverlays
from service.engine.profiles import UserProfile, UserProfiles
from service.engine.recall_monitor import RecallMonitor
from service.errors import InvalidParameterError, UnknownItemError
from service.observability.metrics import Metrics, Unmeasured
from service.schemas.recommend import SearchQuery, UserQuery
from service.settings import Settings
from service.state.base import State
from service.state.change_feed import ChangeFeed
from service.types import AnswerSource

if TYPE_CHECKING:
    from service.redis.batched_reader import BatchedReader

T = TypeVar("T")
COSTED_ITEMS = 5_000
"""Number of items that `service.engine.cost` is about; work on more takes longer in proportion."""


@dataclass(frozen=True)
class Engine:
    """One bundle, ready to answer. Immutable; a reload builds a new engine.

    Attributes:
        bundle: the loaded bundle.
        recommender: searches in the bundle and the changes of its items.
        batches: does plain searches of the same moment together.
        profiles: profiles of its users.
        item_overlays: encodes new and changed items.
        encoder: encodes responses.
        threads: run long work.
        scale: how many times as long as `service.engine.cost` says it takes on the event loop;
            infinite if all searches run in threads.
        recall_monitor: compares a sample of searches; None if search is exact.
        metrics: time searches.
    """

    bundle: Bundle
    recommender: Recommender
    batches: SearchBatches
    profiles: UserProfiles
    item_overlays: ItemOverlays
    encoder: ResponseEncoder
    threads: ThreadPoolExecutor
    scale: float
    recall_monitor: RecallMonitor | None
    metrics: Metrics

    @property
    def catalogue(self) -> Catalogue:
        """The items as they are now."""
        return self.recommender.catalogue

    @cached_property
    def unmeasured(self) -> "Engine":
        """The same engine without a trace in the metrics."""
        metrics = cast(Metrics, Unmeasured())
        profiles = self.profiles.measured_by(metrics)
        return replace(self, metrics=metrics, profiles=profiles, recall_monitor=None)

    def with_overlay(self, overlay: Overlay) -> "Engine":
        """The same engine with other changes of items."""
        recommender = self.recommender.with_overlay(overlay)
        return replace(
            self,
            recommender=recommender,
            batches=self.batches.of(recommender),
            encoder=self.encoder.with_catalogue(recommender.catalogue),
        )

    async def rank(
        self, user_id: str, query: UserQuery, k: int | None = None
    ) -> tuple[UserProfile, SearchOptions, TopK]:
        """A user's profile, the resolved options of a query, and the best items.

        Args:
            user_id: any id.
            query: the request's parameters.
            k: number of results, if not the query's.

        Raises:
            InvalidParameterError: a parameter does not fit the bundle.
        """
        profile = await self.profiles.get(user_id, self.catalogue)
        seen = profile.history if query.exclude_seen else NO_ITEMS
        options = await self.search_options(query, seen, k)
        if profile.vector is not None:
            return profile, options, await self.search(profile.vector, options)
        assert profile.reason is not None
        self.metrics.fallbacks[profile.reason].inc()
        top = self.recommender.popular(options.k, options.excluded, options.allowed)
        return profile, options, top

    async def search(self, vector: NDArray[np.float32], options: SearchOptions) -> TopK:
        """Top k for a user vector [D]; plain searches of the same moment are done together."""
        started = perf_counter()
        if options.is_plain:
            found = await self.batches.search(vector, options.candidates, options.excluded)
        else:
            cost = search_cost(options)
            found = await self._run(cost, self.recommender.candidates, vector, options)
        if self.recall_monitor is not None and not options.is_reweighted:
            self.recall_monitor.sample(self.recommender, vector, options, found)
        if options.diversity:
            cost = search_cost(options)
            found = await self._run(cost, self.recommender.diversify, found, options)
        self.metrics.search_seconds.observe(perf_counter() - started)
        return found

    async def similar(
        self, item_idx: int, k: int, by: str = FUSED, allowed: Rows | None = None
    ) -> TopK:
        """The k items most similar to one, by one of the recommender's similarities."""
        started = perf_counter()
        top = await self._run(k, self.recommender.similar, item_idx, k, by, allowed)
        self.metrics.search_seconds.observe(perf_counter() - started)
        return top

    async def similar_to(self, vector: Vector, k: int) -> TopK:
        """The k items most similar to one that the catalogue need not have, by its vector [D]."""
        similarities = self.recommender.similarities
        return await self._run(k, similarities.similar_to, self.catalogue, vector, k)

    def known_item(self, item_id: str) -> int:
        """The item_idx of an item.

        Raises:
            UnknownItemError: there is no such item, or it was deleted.
        """
        item_idx = self.catalogue.get(item_id)
        if item_idx is None:
            raise UnknownItemError("item_id: there is no such item", "item_id")
        return item_idx

    async def allowed(self, text: str | None) -> Rows | None:
        """The item_idx that a filter allows; None without a filter.

        Raises:
            InvalidParameterError: the filter cannot be read or does not fit the items' columns.
        """
        try:
            if text is None:
                return None
            return await self._run(CHARACTER * len(text), allowed_items, self.catalogue, text)
        except OptionError as error:
            raise InvalidParameterError(str(error), error.field) from None

    async def search_options(
        self, query: SearchQuery, seen: Rows = NO_ITEMS, k: int | None = None
    ) -> SearchOptions:
        """The options of a query, resolved against the items as they are now.

        Args:
            query: the request's parameters.
            seen: item_idx that must not be returned, besides those that the query excludes.
            k: number of results, if not the query's.

        Raises:
            InvalidParameterError: filter, weights or boost do not fit the bundle.
        """
        excluded = seen
        if query.exclude:
            rows = self.catalogue.rows(query.exclude)
            excluded = union(seen, rows[rows >= 0])
        arguments = self.catalogue, query, k or query.k, excluded
        try:
            if query.filter is None and not query.boost:
                return search_options(*arguments)
            # Filters scan the items' columns.
            return await self._run(text_cost(query), search_options, *arguments)
        except OptionError as error:
            raise InvalidParameterError(str(error), error.field) from None

    async def answer(
        self, user_id: str, query: UserQuery, arm: Arm | None = None
    ) -> tuple[bytes, AnswerSource, TopK]:
        """The JSON of `Recommendations` for one user, its source and items; raises as `rank`."""
        profile, options, top = await self.rank(user_id, query)
        response = self.encoder.recommendations(user_id, profile, top, arm)
        if query.explain and profile.vector is not None:
            vector, history = profile.vector, profile.history
            response = await self.explain(response, vector, history, options, top)
        return response, profile.source, top

    async def explain(
        self, response: bytes, vector: Vector, history: Rows, options: SearchOptions, top: TopK
    ) -> bytes:
        """A response with `parts` and `because`; see `ResponseEncoder.explained`."""
        cost = explanation_cost(len(top.item_idx), len(history))
        arguments = response, vector, history, options, top
        if cost <= INLINE:  # whatever the number of items
            return self.encoder.explained(*arguments)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.threads, self.encoder.explained, *arguments)

    async def _run(self, cost: int, work: Callable[..., T], *arguments: Any) -> T:
        """Run work, in a thread if that takes long by its cost and the number of items."""
        if cost * self.scale <= INLINE:
            return work(*arguments)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.threads, partial(work, *arguments))


def build_engine(
    bundle: Bundle,
    settings: Settings,
    metrics: Metrics,
    redis: "BatchedReader | None",
    state: State,
    feed: ChangeFeed,
    pool: ThreadPoolExecutor,
) -> Engine:
    """The engine of a bundle, after a first search to warm it up.

    Changes of items are not in it yet: `Runtime.replace` adds them.

    Args:
        bundle: the loaded bundle.
        settings: the configuration.
        metrics: of the process.
        redis: the connection that requests read by; None without Redis.
        state: recent events of users.
        feed: erased users.
        pool: threads for long searches.
    """
    size = settings.vector_cache_size
    dim = bundle.manifest.dim
    item_overlays = ItemOverlays(bundle)
    recommender = Recommender(bundle)
    shared = None
    if redis is not None:
        from service.cache.redis import RedisVectorCache  # loaded only where Redis is configured

        shared = RedisVectorCache(redis, bundle.version, dim, settings, metrics)
    vectors = UserVectors(
        bundle.user_vectors,
        LocalVectorCache(size) if size else None,
        shared,
        metrics,
    )
    # A flat index answers a plain search faster than a switch to a thread and back.
    is_flat = bundle.manifest.index.kind == "flat"
    scale = max(1.0, len(bundle.items) / COSTED_ITEMS) if is_flat else math.inf
    engine = Engine(
        bundle=bundle,
        recommender=recommender,
        batches=SearchBatches(recommender, None if is_flat else pool),
        profiles=UserProfiles(bundle, vectors, state, feed, size, metrics),
        item_overlays=item_overlays,
        encoder=ResponseEncoder(bundle, recommender.catalogue, metrics.serialisation_seconds),
        threads=pool,
        scale=scale,
        recall_monitor=None if is_flat else RecallMonitor(settings.recall_share, pool, metrics),
        metrics=metrics,
    )
    recommender.search(np.zeros((1, dim), np.float32), 20, [np.empty(0, np.int32)])
    return engine
