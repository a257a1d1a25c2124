"""What is served: one bundle with everything made from it, and the reference that is swapped."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bundle.catalogue import Catalogue
from bundle.filters import FilterError
from bundle.loading import Bundle
from bundle.overlay import NO_ITEMS, Overlay
from bundle.recommender import Recommender
from bundle.similarity import FUSED
from bundle.steering import is_by_columns, search_boosted, search_by_parts, weighted_query
from bundle.topk import TopK
from service.answers import AnswerEncoder
from service.errors import InvalidParameterError
from service.feed import Feed
from service.live_items import LiveItems
from service.live_recall import LiveRecall
from service.metrics import Metrics
from service.queries import MAX_PAGED, POOL
from service.search_batches import SearchBatches
from service.settings import Settings
from service.state import State
from service.tastes import Tastes
from service.user_vectors import UserVectors
from service.vector_cache import LocalVectorCache
from service.wishes import Items, Wishes

if TYPE_CHECKING:
    from service.redis_link import RedisLink

T = TypeVar("T")


@dataclass(frozen=True)
class Serving:
    """One bundle, ready to answer. Never changed; a new bundle is a new `Serving`.

    Attributes:
        bundle: what was loaded.
        recommender: answers what is not a search for a user.
        searches: searches in it.
        tastes: what is known of its users.
        live_items: makes vectors of items that came since.
        answers: makes JSON of results.
        threads: where work runs that takes long; None if it runs on the event loop.
        live_recall: samples searches; None where search is exact.
        metrics: where searches are timed.
    """

    bundle: Bundle
    recommender: Recommender
    searches: SearchBatches
    tastes: Tastes
    live_items: LiveItems
    answers: AnswerEncoder
    threads: ThreadPoolExecutor | None
    live_recall: LiveRecall | None
    metrics: Metrics

    @property
    def catalogue(self) -> Catalogue:
        """The items as they are now."""
        return self.recommender.catalogue

    def with_overlay(self, overlay: Overlay) -> "Serving":
        """The same with other changes of items."""
        recommender = self.recommender.with_overlay(overlay)
        return replace(
            self,
            recommender=recommender,
            searches=SearchBatches(recommender, self.threads),
            answers=self.answers.with_catalogue(recommender.catalogue),
        )

    async def search(self, vector: NDArray[np.float32], wishes: Wishes) -> TopK:
        """The best items for a user vector [D]."""
        started = perf_counter()
        wanted = min(wishes.k * POOL, max(wishes.k, MAX_PAGED)) if wishes.diversity else wishes.k
        if wishes.factors is not None or wishes.boosts:
            top = await self._run(self._steered, vector, wishes, wanted)
        elif wishes.allowed is None:
            top = await self.searches.search(vector, wanted, wishes.excluded)
            self._sample(vector, wishes, top)
        else:
            among = self.recommender.search_among
            top = await self._run(among, vector, wanted, wishes.excluded, wishes.allowed)
            self._sample(vector, wishes, top)
        if wishes.diversity:
            top = await self._run(self.recommender.diversify, top, wishes.k, wishes.diversity)
        self.metrics.search_seconds.observe(perf_counter() - started)
        return top

    def _sample(self, vector: NDArray[np.float32], wishes: Wishes, top: TopK) -> None:
        if self.live_recall is not None and self.recommender.is_indexed(wishes.allowed):
            self.live_recall.sample(self.recommender, vector, wishes, top)

    def _steered(self, vector: NDArray[np.float32], wishes: Wishes, wanted: int) -> TopK:
        recommender, factors, excluded = self.recommender, wishes.factors, wishes.excluded
        by_parts = factors is not None and not is_by_columns(recommender, factors)
        query = vector if factors is None else weighted_query(recommender, vector, factors)

        def among(allowed: Items) -> TopK:
            if by_parts and factors is not None:
                return search_by_parts(recommender, vector, factors, wanted, excluded, allowed)
            if allowed is None:
                return recommender.search(query[None], wanted, [excluded])[0]
            return recommender.search_among(query, wanted, excluded, allowed)

        if not wishes.boosts:
            return among(wishes.allowed)
        allowed = self.catalogue.visible if wishes.allowed is None else wishes.allowed
        return search_boosted(among, wishes.boosts, wanted, allowed)

    async def similar(self, item_idx: int, k: int, by: str = FUSED, allowed: Items = None) -> TopK:
        """Top k of the items similar to one, by one of the recommender's similarities."""
        started = perf_counter()
        top = await self._run(self.recommender.similar, item_idx, k, by, allowed)
        self.metrics.search_seconds.observe(perf_counter() - started)
        return top

    def rows(self, item_ids: Sequence[str]) -> NDArray[np.int32]:
        """The item_idx of those that there are, each once."""
        if not item_ids:
            return NO_ITEMS
        rows = np.unique(self.catalogue.rows(item_ids))
        return rows[rows >= 0]

    async def allowed(self, text: str | None, field: str = "filter") -> Items:
        """What a filter allows; None without one.

        Raises:
            InvalidParameterError: it cannot be read, or does not fit the items' columns; names
                the field.
        """
        if text is None:
            return None
        try:
            return await self._run(self.catalogue.allowed, text)
        except FilterError as error:
            raise InvalidParameterError(f"{field}: {error}", field) from None

    async def _run(self, work: Callable[..., T], *arguments: Any) -> T:
        """In a thread, where the catalogue is large enough for it to take long."""
        if self.threads is None:
            return work(*arguments)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.threads, partial(work, *arguments))


def prepare_serving(
    bundle: Bundle,
    settings: Settings,
    metrics: Metrics,
    redis: "RedisLink | None",
    state: State,
    feed: Feed,
    pool: ThreadPoolExecutor,
) -> Serving:
    """Everything that requests need from a bundle, and a first search to warm it up.

    Changes of items are not in it: `Service.replace` adds them.
    """
    size = settings.vector_cache_size
    dim = bundle.manifest.dim
    live_items = LiveItems(bundle)
    recommender = Recommender(bundle)
    shared = None
    if redis is not None:
        from service.redis_cache import RedisVectorCache  # see `service.app`

        shared = RedisVectorCache(redis, bundle.version, dim, settings, metrics)
    vectors = UserVectors(
        bundle.user_vectors,
        LocalVectorCache(size) if size else None,
        shared,
        metrics,
    )
    # A flat index answers in less time than the way to a thread and back takes.
    threads = None if bundle.manifest.index.kind == "flat" else pool
    serving = Serving(
        bundle=bundle,
        recommender=recommender,
        searches=SearchBatches(recommender, threads),
        tastes=Tastes(bundle, vectors, state, feed, size, metrics),
        live_items=live_items,
        answers=AnswerEncoder(bundle, recommender.catalogue, metrics.serialisation_seconds),
        threads=threads,
        live_recall=LiveRecall(settings.recall_share, pool, metrics) if threads else None,
        metrics=metrics,
    )
    recommender.search(np.zeros((1, dim), np.float32), 20, [np.empty(0, np.int32)])
    return serving
