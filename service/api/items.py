"""`/items`: items as they are now; replicas serve a change within `state_poll` seconds."""

import asyncio
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from fastapi import Query, Response
from numpy.typing import NDArray

from bundle.catalogue.overlay import ItemChange, column_values, encode_item
from bundle.errors import InputError
from bundle.events.records import pack_change
from bundle.format.reader import Bundle
from bundle.types import Vector
from service.api.dependencies import CurrentRuntime, ItemId, ItemIdPath, Limited, state_errors
from service.api.openapi_errors import error_responses
from service.engine.runtime import Runtime
from service.errors import InvalidParameterError
from service.http.fast_route import ResourceRouter
from service.http.parameters import check_id
from service.schemas.base import NoQuery
from service.schemas.items import (
    MAX_CONTENTS,
    Item,
    ItemBatch,
    ItemContent,
    ItemsAccepted,
    ItemUpdate,
)
from service.state.base import NewChange

AT_ONCE = 10
"""Number of items whose features and columns are checked on the event loop, more in a thread."""
Features = dict[str, NDArray[np.float32]]

router = ResourceRouter("items")


@router.fast_get(
    "/items/{item_id:id}",
    summary="Get an item",
    response_model=Item,
    responses=error_responses("invalid_parameter", "unknown_item", "overloaded"),
)
async def item(
    item_id: ItemId, query: Annotated[NoQuery, Query()], runtime: CurrentRuntime
) -> bytes:
    """The item's columns, and whether it can be recommended."""
    del query
    engine = runtime.engine
    return engine.encoder.item(engine.known_item(item_id))


@router.put(
    "/items/{item_id:id}",
    summary="Add or change an item",
    dependencies=[Limited],
    response_class=Response,
    responses={
        200: {"model": Item},
        **error_responses("invalid_parameter", "body_too_large", "overloaded", "state_unavailable"),
    },
)
async def put_item(item_id: ItemIdPath, body: ItemUpdate, runtime: CurrentRuntime) -> Response:
    """Set an item's features and columns; it can be recommended at once.

    `features` go through the item encoder. From `content`, features are extracted first, where
    content encoders are configured. Without both, an item of the bundle keeps its trained vector.
    `columns` replace all of its columns; without them, it keeps those of the bundle.
    """
    await _store(runtime, await _changes(runtime, [item_id], [body], [""]))
    runtime.metrics.item_changes.labels("put").inc()
    engine = runtime.engine
    return Response(engine.encoder.item(engine.known_item(item_id)), media_type="application/json")


@router.post(
    "/items",
    summary="Add or change many items",
    dependencies=[Limited],
    responses=error_responses(
        "invalid_parameter", "body_too_large", "overloaded", "state_unavailable"
    ),
)
async def post_items(body: ItemBatch, runtime: CurrentRuntime) -> ItemsAccepted:
    """As `PUT /items/{item_id}`, for many items: all of them, or none if one is invalid."""
    places = [f"items.{number}." for number in range(len(body.items))]
    ids = [item.item_id for item in body.items]
    changes = await _changes(runtime, ids, body.items, places)
    await _store(runtime, changes)
    runtime.metrics.item_changes.labels("put").inc(len(changes))
    return ItemsAccepted(stored=len(changes))


@router.delete(
    "/items/{item_id:id}",
    summary="Delete an item",
    dependencies=[Limited],
    status_code=204,
    response_class=Response,
    responses=error_responses(
        "unknown_item", "invalid_parameter", "overloaded", "state_unavailable"
    ),
)
async def delete_item(item_id: ItemIdPath, runtime: CurrentRuntime) -> Response:
    """Stop recommending an item, until it is added again."""
    with state_errors():
        await runtime.feed.sync()  # another replica may have added the item a moment ago
    runtime.engine.known_item(item_id)
    await _store(runtime, [ItemChange(item_id, deleted=True)])
    runtime.metrics.item_changes.labels("delete").inc()
    return Response(status_code=204)


async def _store(runtime: Runtime, changes: list[ItemChange]) -> None:
    stored = [NewChange("item", change.item_id, pack_change(change)) for change in changes]
    with state_errors():
        await runtime.state.add_changes(stored)
        await runtime.feed.sync()


async def _changes(
    runtime: Runtime, ids: Sequence[str], bodies: Sequence[ItemUpdate], places: Sequence[str]
) -> list[ItemChange]:
    """The changes that a request makes.

    Args:
        runtime: of the application.
        ids: item_ids.
        bodies: the update of each item.
        places: prefix of each item's fields in the request, for errors.

    Raises:
        InvalidParameterError: an update does not fit the bundle; names the modality or column.
    """
    for item_id, place in zip(ids, places, strict=True):
        check_id(item_id, f"{place}item_id", runtime.settings.max_id_length)
    encoded = await _encoded(runtime, bodies, places)
    bundle = runtime.engine.bundle

    def changes() -> list[ItemChange]:
        each = zip(ids, bodies, encoded, places, strict=True)
        return [_change(bundle, *parts) for parts in each]

    # Each item is a call of the item encoder.
    return changes() if len(ids) <= AT_ONCE else await asyncio.to_thread(changes)


async def _encoded(
    runtime: Runtime, bodies: Sequence[ItemContent], places: Sequence[str]
) -> Sequence[Features]:
    """The features that are extracted from the updates' content, by modality."""
    given = [body.content or {} for body in bodies]
    count = sum(map(len, given))
    if not count:
        return [{}] * len(bodies)
    fields = [f"{place}content" for place in places]
    field = next(name for name, content in zip(fields, given, strict=True) if content)
    if runtime.content is None:
        raise InvalidParameterError(f"{field}: no content encoders are configured", field)
    if count > MAX_CONTENTS:
        reason = f"a request may have {MAX_CONTENTS} texts and images at most, not {count}"
        raise InvalidParameterError(f"{field}: {reason}", field)
    for body, content, name in zip(bodies, given, fields, strict=True):
        for modality in content.keys() & (body.features or {}).keys():
            where = f"{name}.{modality}"
            raise InvalidParameterError(f"{where}: has features as well", where)
    return await runtime.content.encode(given, fields)


async def item_vector(runtime: Runtime, bundle: Bundle, body: ItemContent) -> Vector:
    """The vector [D] that a bundle's item encoder makes of a request's features and content.

    Raises:
        InvalidParameterError: there are none, or they do not fit the bundle.
    """
    [encoded] = await _encoded(runtime, [body], [""])
    found = _features(bundle, body, encoded, "")
    if found is None:
        raise InvalidParameterError("features: are required for a new item", "features")
    return found[1]


def _features(
    bundle: Bundle, body: ItemContent, encoded: Features, place: str
) -> tuple[Features, Vector] | None:
    """The features of an item, those from its content included, and the bundle's vector of them."""
    if body.features is None and not encoded:
        return None
    given = (body.features or {}).items()
    features = {name: np.array(row, np.float32) for name, row in given} | encoded
    try:
        return features, encode_item(bundle.item_encoder, features)
    except InputError as error:
        field = f"{place}features"
        raise InvalidParameterError(f"{field}: {error}", field) from None


def _change(
    bundle: Bundle, item_id: str, body: ItemUpdate, encoded: Features, place: str
) -> ItemChange:
    """The change of one item; `encoded` are the features from its content."""
    found = _features(bundle, body, encoded, place)
    if found is None and item_id not in bundle.items:
        field = f"{place}features"
        raise InvalidParameterError(f"{field}: are required for a new item", field)
    columns = body.columns
    if columns is not None:
        try:
            columns = column_values(bundle.item_table.schema, columns)
        except InputError as error:
            field = f"{place}columns"
            raise InvalidParameterError(f"{field}: {error}", field) from None
    features = None if found is None else found[0]
    return ItemChange(item_id, features=features, columns=columns)
