"""What is served: one bundle with everything made from it, and the reference that is swapped."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Annotated, Any, TypeVar

import numpy as np
from fastapi import Depends, Request
from numpy.typing import NDArray

from bundle.filters import FilterError, ItemFilters
from bundle.loading import Bundle
from bundle.recommender import FUSED, NO_ITEMS, Recommender, TopK
from service.answers import AnswerEncoder
from service.errors import InvalidParameterError
from service.metrics import Metrics
from service.permits import Permits
from service.queries import POOL
from service.redis_cache import RedisVectorCache
from service.redis_link import RedisLink
from service.search_batches import SearchBatches
from service.settings import Settings
from service.user_vectors import UserVectors
from service.vector_cache import LocalVectorCache

T = TypeVar("T")
Items = NDArray[np.int32] | None
"""Ascending item_idx; None for all."""


@dataclass(frozen=True)
class Serving:
    """One bundle, ready to answer. Never changed; a new bundle is a new `Serving`.

    Attributes:
        bundle: what was loaded.
        recommender: answers what is not a search for a user.
        searches: searches in it.
        filters: what filters allow.
        vectors: the users' vectors.
        answers: makes JSON of results.
        has_taste: [U], false for users whose vector is zero.
        threads: where work runs that takes long; None if it runs on the event loop.
        metrics: where searches are timed.
    """

    bundle: Bundle
    recommender: Recommender
    searches: SearchBatches
    filters: ItemFilters
    vectors: UserVectors
    answers: AnswerEncoder
    has_taste: NDArray[np.bool_]
    threads: ThreadPoolExecutor | None
    metrics: Metrics

    async def search(
        self,
        vector: NDArray[np.float32],
        k: int,
        excluded: NDArray[np.int32],
        allowed: Items = None,
        diversity: float = 0.0,
    ) -> TopK:
        """Top k for a user vector [D] without the excluded item_idx, of the allowed ones."""
        started = perf_counter()
        wanted = k * POOL if diversity else k
        if allowed is None:
            top = await self.searches.search(vector, wanted, excluded)
        else:
            top = await self._run(self.recommender.search_among, vector, wanted, excluded, allowed)
        if diversity:
            top = await self._run(self.recommender.diversify, top, k, diversity)
        self.metrics.search_seconds.observe(perf_counter() - started)
        return top

    async def similar(self, item_idx: int, k: int, by: str = FUSED, allowed: Items = None) -> TopK:
        """Top k of the items similar to one, by one of the recommender's similarities."""
        started = perf_counter()
        top = await self._run(self.recommender.similar, item_idx, k, by, allowed)
        self.metrics.search_seconds.observe(perf_counter() - started)
        return top

    def rows(self, item_ids: Sequence[str]) -> NDArray[np.int32]:
        """The item_idx of those that the bundle knows, each once."""
        if not item_ids:
            return NO_ITEMS
        rows = np.unique(self.bundle.items.rows(item_ids))
        return rows[rows >= 0]

    async def allowed(self, text: str | None) -> Items:
        """What a filter allows; None without one.

        Raises:
            InvalidParameterError: it cannot be read, or does not fit the items' columns.
        """
        if text is None:
            return None
        try:
            return await self._run(self.filters.allowed, text)
        except FilterError as error:
            raise InvalidParameterError(f"filter: {error}", "filter") from None

    async def _run(self, work: Callable[..., T], *arguments: Any) -> T:
        """In a thread, where the catalogue is large enough for it to take long."""
        if self.threads is None:
            return work(*arguments)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.threads, partial(work, *arguments))


@dataclass
class Service:
    """What lives as long as the process.

    Attributes:
        settings: the configuration.
        metrics: its numbers.
        permits: for requests in work.
        threads: searches at a time in threads, and threads of ONNX Runtime.
        pool: threads for searches that take long.
        redis: the way to Redis, if one is configured.
        serving: what requests are answered from. Read it once a request: a swap replaces it.
    """

    settings: Settings
    metrics: Metrics
    permits: Permits
    threads: int
    pool: ThreadPoolExecutor
    redis: RedisLink | None
    serving: Serving

    def check_id(self, identifier: str, name: str) -> None:
        """Refuse an id that can be no user's or item's.

        Args:
            identifier: the id.
            name: of the parameter.

        Raises:
            InvalidParameterError: it is empty or too long.
        """
        if not identifier:
            raise InvalidParameterError(f"{name}: must not be empty", name)
        longest = self.settings.max_id_length
        if len(identifier) > longest:
            raise InvalidParameterError(f"{name}: has more than {longest} characters", name)


def prepare_serving(
    bundle: Bundle,
    settings: Settings,
    metrics: Metrics,
    redis: RedisLink | None,
    pool: ThreadPoolExecutor,
) -> Serving:
    """Everything that requests need from a bundle, and a first search to warm it up."""
    size = settings.vector_cache_size
    dim = bundle.manifest.dim
    recommender = Recommender(bundle)
    # A flat index answers in less time than the way to a thread and back takes.
    threads = None if bundle.manifest.index.kind == "flat" else pool
    serving = Serving(
        bundle=bundle,
        recommender=recommender,
        searches=SearchBatches(recommender, threads),
        filters=ItemFilters(bundle.item_table),
        vectors=UserVectors(
            bundle.user_vectors,
            LocalVectorCache(size) if size else None,
            RedisVectorCache(redis, bundle.version, dim, settings, metrics) if redis else None,
            metrics,
        ),
        answers=AnswerEncoder(bundle),
        has_taste=np.any(bundle.user_vectors, axis=1),
        threads=threads,
        metrics=metrics,
    )
    recommender.search(np.zeros((1, dim), np.float32), 20, [np.empty(0, np.int32)])
    return serving


async def current_service(request: Request) -> Service:
    """The service that a request came to."""
    service: Service = request.app.state.service
    return service


async def current_serving(request: Request) -> Serving:
    """What it is answered from; the reference is read here and once."""
    return (await current_service(request)).serving


CurrentService = Annotated[Service, Depends(current_service)]
CurrentServing = Annotated[Serving, Depends(current_serving)]
