"""`/similar`: items similar to an item."""

from typing import Annotated

from fastapi import Query

from service.api.dependencies import CurrentRuntime, ItemId
from service.api.openapi_errors import error_responses
from service.errors import InvalidParameterError
from service.http.fast_route import ResourceRouter
from service.schemas.similar import SimilarItems, SimilarQuery

router = ResourceRouter("recommend")


@router.fast_get(
    "/similar/{item_id:id}",
    summary="Find similar items",
    response_model=SimilarItems,
    responses=error_responses("invalid_parameter", "unknown_item", "overloaded"),
)
async def similar(
    item_id: ItemId, query: Annotated[SimilarQuery, Query()], runtime: CurrentRuntime
) -> bytes:
    """The items most similar to one, by the cosine of their vectors or of a part of them."""
    engine = runtime.engine
    item_idx = engine.known_item(item_id)
    similarities = engine.recommender.similarities.names
    if query.by not in similarities:
        raise InvalidParameterError(f"by: must be one of {', '.join(similarities)}", "by")
    allowed = await engine.allowed(query.filter)
    top = await engine.similar(item_idx, query.k, query.by, allowed)
    return engine.encoder.similar_items(item_id, engine.profiles.degraded, top)
