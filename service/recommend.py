"""What the service is for: `/recommend` and `/similar`, and `/items` to look at an item."""

from time import perf_counter
from typing import Annotated

import numpy as np
from fastapi import FastAPI, Path, Query
from numpy.typing import NDArray

from service.errors import InvalidParameterError, UnknownItemError
from service.lean_route import LeanRoute
from service.queries import NoQuery, RecommendQuery, SimilarQuery
from service.responses import error_responses
from service.schemas import (
    CacheResult,
    FallbackReason,
    Item,
    Recommendations,
    SimilarItems,
)
from service.serving import CurrentService, Items, Serving

Id = Annotated[
    str,
    Path(description="any characters, percent-encoded; at most as many as `/info` says"),
]


async def recommend(
    user_id: Id, query: Annotated[RecommendQuery, Query()], service: CurrentService
) -> bytes:
    """The best items for a user.

    A user with interactions gets items by their vector. A user without any, or one that the
    bundle does not know, gets the popular items, and the answer says so: `source` is `popular`
    and `fallback_reason` gives the reason.
    """
    return await answer_user(service.serving, user_id, query)


async def answer_user(serving: Serving, user_id: str, query: RecommendQuery) -> bytes:
    """The JSON of `schemas.Recommendations` for one user."""
    allowed = await serving.allowed(query.filter)
    excluded = serving.rows(query.exclude)
    user_idx = serving.bundle.users.get(user_id)
    if user_idx is None:
        return _popular(serving, user_id, "unknown_user", query.k, excluded, allowed)
    if query.exclude_seen:
        seen = serving.bundle.seen.row(user_idx)
        excluded = np.union1d(seen, excluded) if len(excluded) else seen
    if not serving.has_taste[user_idx]:
        return _popular(serving, user_id, "no_interactions", query.k, excluded, allowed)
    started = perf_counter()
    found = await serving.vectors.get(user_id, user_idx)
    serving.metrics.vector_seconds.observe(perf_counter() - started)
    top = await serving.search(found.vector, query.k, excluded, allowed, query.diversity)
    cache: CacheResult = "hit" if found.cached else "miss"
    answer = serving.answers.recommendations(
        user_id, "known_user", None, cache, found.degraded, top
    )
    if not query.explain:
        return answer
    history = serving.bundle.seen.row(user_idx)
    return serving.answers.explained(answer, serving.recommender, found.vector, history, top)


def _popular(
    serving: Serving,
    user_id: str,
    reason: FallbackReason,
    k: int,
    excluded: NDArray[np.int32],
    allowed: Items,
) -> bytes:
    serving.metrics.fallbacks[reason].inc()
    top = serving.recommender.popular(k, excluded, allowed)
    return serving.answers.recommendations(
        user_id, "popular", reason, "miss", serving.vectors.degraded, top
    )


async def similar(
    item_id: Id, query: Annotated[SimilarQuery, Query()], service: CurrentService
) -> bytes:
    """The items most similar to one, by the cosine of their vectors or of a part of them."""
    serving = service.serving
    item_idx = serving.bundle.items.get(item_id)
    if item_idx is None:
        raise UnknownItemError("item_id: the bundle has no such item", "item_id")
    similarities = serving.recommender.similarities
    if query.by not in similarities:
        raise InvalidParameterError(f"by: must be one of {', '.join(similarities)}", "by")
    allowed = await serving.allowed(query.filter)
    top = await serving.similar(item_idx, query.k, query.by, allowed)
    return serving.answers.similar_items(item_id, top)


async def item(item_id: Id, query: Annotated[NoQuery, Query()], service: CurrentService) -> bytes:
    """What the bundle knows of an item: its columns, and whether it can be recommended."""
    del query
    serving = service.serving
    item_idx = serving.bundle.items.get(item_id)
    if item_idx is None:
        raise UnknownItemError("item_id: the bundle has no such item", "item_id")
    return serving.answers.item(item_idx)


def add_recommending(app: FastAPI) -> None:
    """Add the three endpoints to an application, in front: each route asked before costs time."""
    app.router.routes[:0] = [
        LeanRoute(
            "/recommend/",
            "user_id",
            RecommendQuery,
            recommend,
            response_model=Recommendations,
            responses=error_responses(422, 503),
            tags=["recommend"],
        ),
        LeanRoute(
            "/similar/",
            "item_id",
            SimilarQuery,
            similar,
            response_model=SimilarItems,
            responses=error_responses(404, 422, 503),
            tags=["recommend"],
        ),
        LeanRoute(
            "/items/",
            "item_id",
            NoQuery,
            item,
            response_model=Item,
            responses=error_responses(404, 422, 503),
            tags=["recommend"],
        ),
    ]
