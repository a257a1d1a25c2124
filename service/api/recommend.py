"""`/recommend`: recommendations for a user, for many users, and for an anonymous session."""

import asyncio
from typing import Annotated

import numpy as np
from fastapi import Query, Request, Response

from bundle.events.history import fold_in
from bundle.events.weights import DISLIKE_WEIGHT
from bundle.sorted_sets import union
from service.api.dependencies import CurrentRuntime, Limited, UserId
from service.api.openapi_errors import error_responses
from service.api.pagination import recommend_page
from service.engine.cost import COST_OF_ONE, MAX_COST, text_cost, user_cost, users_at_once
from service.engine.runtime import Runtime
from service.errors import InvalidParameterError
from service.http.error_handlers import error_body
from service.http.fast_route import ResourceRouter
from service.http.middleware.authentication import charge
from service.http.parameters import check_id, check_ids
from service.schemas.recommend import (
    BatchRecommendations,
    BatchRecommendRequest,
    Recommendations,
    RecommendQuery,
    SessionRecommendations,
    SessionRequest,
    UserQuery,
)

router = ResourceRouter("recommend")


@router.fast_get(
    "/recommend/{user_id:id}",
    summary="Recommend items to a user",
    response_model=Recommendations,
    responses=error_responses(
        "invalid_parameter", "cursor_expired", "overloaded", "state_unavailable"
    ),
)
async def recommend(
    user_id: UserId, query: Annotated[RecommendQuery, Query()], runtime: CurrentRuntime
) -> bytes:
    """The best items for a user.

    A user with interactions gets items by the trained vector; one with newer events by a vector
    folded in from both (`source` is `folded_in`). A user without any gets popular items: `source`
    is `popular`, and `fallback_reason` gives the reason.
    """
    if query.exclude:
        check_ids(query.exclude, "exclude", runtime.settings.max_id_length)
    if query.cursor is not None:
        return await recommend_page(runtime, user_id, query)
    return await _recommend_user(runtime, user_id, query)


@router.post(
    "/recommend",
    summary="Recommend items to many users",
    dependencies=[Limited],
    response_class=Response,
    responses={
        200: {"model": BatchRecommendations},
        **error_responses("invalid_parameter", "body_too_large", "overloaded"),
    },
)
async def recommend_many(
    query: BatchRecommendRequest, runtime: CurrentRuntime, request: Request
) -> Response:
    """The best items for many users, as `GET /recommend/{user_id}` returns them for each.

    Their searches are done together. What the request costs is limited: the more users, results
    and options, the more; with an API key it counts as so many requests. A user with an invalid id
    gets an `error` in place of items; the others are not affected.
    """
    check_ids(query.exclude, "exclude", runtime.settings.max_id_length)
    cost = len(query.users) * user_cost(query) + text_cost(query)
    if cost > MAX_COST:
        reason = f"the request costs {cost:,} points, more than {MAX_COST:,}"
        raise InvalidParameterError(
            f"users: {reason}; fewer users, k or options cost less", "users"
        )
    charge(request.scope, cost // COST_OF_ONE - 1)
    await runtime.engine.search_options(query)  # an invalid option is refused before any search

    async def one(user_id: str) -> bytes:
        try:
            check_id(user_id, "user_id", runtime.settings.max_id_length)
            return await _recommend_user(runtime, user_id, query)
        except InvalidParameterError as error:
            return error_body(error.code, str(error), error.field)

    # Other requests are answered between the pieces.
    responses: list[bytes] = []
    at_once = users_at_once(query)
    for start in range(0, len(query.users), at_once):
        responses += await asyncio.gather(*map(one, query.users[start : start + at_once]))
    return Response(b'{"results":[%b]}' % b",".join(responses), media_type="application/json")


@router.post(
    "/recommend/items",
    summary="Recommend items to an anonymous session",
    dependencies=[Limited],
    response_class=Response,
    responses={
        200: {"model": SessionRecommendations},
        **error_responses("invalid_parameter", "body_too_large", "overloaded"),
    },
)
async def recommend_for_items(query: SessionRequest, runtime: CurrentRuntime) -> Response:
    """The best items for an anonymous session, known by the items that it liked and disliked.

    The session's vector is made by the encoder that makes users' vectors from their histories.
    Unknown items are listed in `unknown_items` and ignored; if none is left, the response has the
    popular items.
    """
    longest = runtime.settings.max_id_length
    check_ids(query.exclude, "exclude", longest)
    check_ids(query.disliked, "disliked", longest)
    for number, item in enumerate(query.items):
        check_id(item.item_id, f"items.{number}.item_id", longest)
    engine = runtime.engine
    options = await engine.search_options(query)
    ids = [item.item_id for item in query.items] + query.disliked
    weights = [item.weight for item in query.items] + [DISLIKE_WEIGHT] * len(query.disliked)
    rows = engine.catalogue.rows(ids)
    known = rows >= 0
    unknown = [item_id for item_id, row in zip(ids, rows, strict=True) if row < 0]
    given = known if query.exclude_items else known & (np.arange(len(ids)) >= len(query.items))
    options = options._replace(excluded=union(options.excluded, rows[given]))
    known_weights = np.array(weights, np.float32)[known]
    vector = fold_in(engine.bundle, engine.catalogue.vectors(rows[known]), known_weights)
    encode, degraded = engine.encoder.session, engine.profiles.degraded
    if vector is None:
        engine.metrics.fallbacks["unknown_items"].inc()
        top = engine.recommender.popular(query.k, options.excluded, options.allowed)
        body = encode("popular", "unknown_items", degraded, unknown, top)
    else:
        top = await engine.search(vector, options)
        body = encode("session", None, degraded, unknown, top)
        if query.explain:
            liked = rows[known & (np.array(weights) > 0)]
            body = await engine.explain(body, vector, liked, options, top)
    return Response(body, media_type="application/json")


async def _recommend_user(runtime: Runtime, user_id: str, query: UserQuery) -> bytes:
    """The JSON of `Recommendations` for one user."""
    arm = runtime.arm(user_id)
    engine = runtime.engine_of(arm)
    if arm is not None:
        query = arm.apply(query)
    response, source, top = await engine.answer(user_id, query, arm)
    if runtime.outcomes is not None and runtime.outcomes.measures(user_id):
        ids = engine.catalogue.item_ids(top.item_idx.tolist())
        label = arm.label if arm else None
        runtime.outcomes.show(user_id, label, engine.bundle.version, source, ids)
    if runtime.shadow is not None:
        runtime.shadow.sample(runtime.shadow_engine, user_id, query, engine, top)
    return response
