"""What the service is for: `/recommend` and `/similar`, and `/items` to look at an item."""

from typing import Annotated

from fastapi import Query

from service.errors import InvalidParameterError, UnknownItemError
from service.identifiers import ItemId, UserId
from service.lean_route import LeanRoute
from service.pages import answer_page
from service.queries import NoQuery, RecommendQuery, SimilarQuery, UserQuery
from service.rank import rank
from service.responses import error_responses
from service.running import CurrentService, Service
from service.schemas import (
    Item,
    Recommendations,
    SimilarItems,
)
from service.serving import Serving


async def recommend(
    user_id: UserId, query: Annotated[RecommendQuery, Query()], service: CurrentService
) -> bytes:
    """The best items for a user.

    A user with interactions gets items by their vector, and one with events since by a vector of
    both (`source` is `folded_in`). A user without any gets the popular items, and the answer says
    so: `source` is `popular` and `fallback_reason` gives the reason.
    """
    if query.cursor is not None:
        return await answer_page(service, user_id, query)
    return await answer_user(service, user_id, query)


async def answer_user(service: Service, user_id: str, query: UserQuery) -> bytes:
    """The JSON of `schemas.Recommendations` for one user."""
    arm = service.arm(user_id)
    serving = service.serving_of(arm)
    if arm is not None:
        query = arm.apply(query)
    taste, wishes, top = await rank(serving, user_id, query)
    answer = serving.answers.recommendations(user_id, taste, top, arm)
    if service.shadow is not None:
        service.shadow.sample(service.shadow_serving, user_id, query, serving, top)
    if not query.explain or taste.vector is None:
        return answer
    return serving.answers.explained(answer, serving.recommender, taste, wishes, top)


async def similar(
    item_id: ItemId, query: Annotated[SimilarQuery, Query()], service: CurrentService
) -> bytes:
    """The items most similar to one, by the cosine of their vectors or of a part of them."""
    serving = service.serving
    item_idx = known_item(serving, item_id)
    similarities = serving.recommender.similarities.names
    if query.by not in similarities:
        raise InvalidParameterError(f"by: must be one of {', '.join(similarities)}", "by")
    allowed = await serving.allowed(query.filter)
    top = await serving.similar(item_idx, query.k, query.by, allowed)
    return serving.answers.similar_items(item_id, serving.tastes.degraded, top)


async def item(
    item_id: ItemId, query: Annotated[NoQuery, Query()], service: CurrentService
) -> bytes:
    """What is known of an item: its columns, and whether it can be recommended."""
    del query
    serving = service.serving
    return serving.answers.item(known_item(serving, item_id))


def known_item(serving: Serving, item_id: str) -> int:
    """The item_idx of an item.

    Raises:
        UnknownItemError: there is none, or it was deleted.
    """
    item_idx = serving.catalogue.get(item_id)
    if item_idx is None:
        raise UnknownItemError("item_id: there is no such item", "item_id")
    return item_idx


def recommending_routes() -> list[LeanRoute]:
    """The three endpoints."""
    return [
        LeanRoute(
            "/recommend/",
            "user_id",
            RecommendQuery,
            recommend,
            operation_id="recommend",
            response_model=Recommendations,
            responses=error_responses(
                "invalid_parameter", "cursor_expired", "overloaded", "state_unavailable"
            ),
            tags=["recommend"],
        ),
        LeanRoute(
            "/similar/",
            "item_id",
            SimilarQuery,
            similar,
            operation_id="similar",
            response_model=SimilarItems,
            responses=error_responses("invalid_parameter", "unknown_item", "overloaded"),
            tags=["recommend"],
        ),
        LeanRoute(
            "/items/",
            "item_id",
            NoQuery,
            item,
            allow="DELETE, GET, PUT",
            operation_id="item",
            response_model=Item,
            responses=error_responses("invalid_parameter", "unknown_item", "overloaded"),
            tags=["recommend"],
        ),
    ]
