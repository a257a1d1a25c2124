"""`/audience` and `/preview`: for whom an item is, before and after it is stored."""

from typing import Annotated

import numpy as np
import orjson
from fastapi import Query, Response

from service.api.dependencies import CurrentRuntime, ItemId, Limited
from service.api.items import item_vector
from service.api.openapi_errors import error_responses
from service.engine.audience import Fan, find_audience
from service.http.fast_route import ResourceRouter
from service.schemas.audience import Audience, AudienceQuery, Preview, PreviewRequest

router = ResourceRouter("items")


@router.fast_get(
    "/audience/{item_id:id}",
    summary="Find the users for whom an item is",
    response_model=Audience,
    responses=error_responses("invalid_parameter", "unknown_item", "overloaded"),
)
async def audience(
    item_id: ItemId, query: Annotated[AudienceQuery, Query()], runtime: CurrentRuntime
) -> bytes:
    """The users in whose recommendations the item stands highest.

    They are found among the users of the bundle whose vectors are most like the item's. Users who
    know the item already are left out.
    """
    engine = runtime.engine
    item_idx = engine.known_item(item_id)
    vector = engine.catalogue.vectors(np.array([item_idx], np.int32))[0]
    fans = await find_audience(engine, vector, query.k, item_idx)
    return orjson.dumps(
        {"item_id": item_id, "bundle_version": engine.bundle.version, "users": _users(fans)}
    )


@router.post(
    "/preview",
    summary="See what a new item would be",
    dependencies=[Limited],
    response_class=Response,
    responses={
        200: {"model": Preview},
        **error_responses("invalid_parameter", "body_too_large", "overloaded"),
    },
)
async def preview(body: PreviewRequest, runtime: CurrentRuntime) -> Response:
    """The items most similar to one that is not stored, and the users for whom it would be.

    Takes `features` and `content` as `PUT /items/{item_id}` does. Nothing is stored.
    """
    engine = runtime.engine
    vector = await item_vector(runtime, engine.bundle, body)
    top = await engine.similar_to(vector, body.k)
    fans = await find_audience(engine, vector, body.k)
    found = {
        "bundle_version": engine.bundle.version,
        "similar": orjson.Fragment(b"[%b]" % engine.encoder.similar_list(top)),
        "audience": _users(fans),
    }
    return Response(orjson.dumps(found), media_type="application/json")


def _users(fans: list[Fan]) -> list[dict[str, object]]:
    return [fan._asdict() for fan in fans]
