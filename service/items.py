"""`/items`: new, changed and deleted items, served by every replica within `state_poll` seconds."""

from collections.abc import Sequence

import numpy as np
from fastapi import FastAPI, Response
from numpy.typing import NDArray

from bundle.errors import InputError
from bundle.events import pack_change
from bundle.overlay import ItemChange, column_values, encode_item
from service.errors import InvalidParameterError, StateUnavailableError
from service.identifiers import ItemIdPath
from service.postings import MAX_CONTENTS, ItemBody, NewItems
from service.recommend import known_item
from service.responses import error_responses
from service.running import CurrentService, Service
from service.schemas import Item, ItemsKept
from service.state import NewNote, StateError

Features = dict[str, NDArray[np.float32]]


async def put_item(item_id: ItemIdPath, body: ItemBody, service: CurrentService) -> Response:
    """Make an item what the body says; it can be recommended at once.

    `features` go through the item encoder; `content` is made into features before, where content
    encoders are configured. Without both an item of the bundle keeps its trained vector. `columns`
    replace all of its columns; without them it keeps those of the bundle.
    """
    with service.permits:
        await _keep(service, await _changes(service, [item_id], [body], [""]))
        service.metrics.item_changes.labels("put").inc()
        serving = service.serving
        return Response(
            serving.answers.item(known_item(serving, item_id)), media_type="application/json"
        )


async def post_items(body: NewItems, service: CurrentService) -> ItemsKept:
    """The same for many items: all of them, or with an error none."""
    with service.permits:
        places = [f"items.{number}." for number in range(len(body.items))]
        ids = [item.item_id for item in body.items]
        changes = await _changes(service, ids, body.items, places)
        await _keep(service, changes)
        service.metrics.item_changes.labels("put").inc(len(changes))
        return ItemsKept(stored=len(changes))


async def delete_item(item_id: ItemIdPath, service: CurrentService) -> Response:
    """Never recommend an item again, until it is put again."""
    with service.permits:
        try:
            await service.feed.sync()  # it may have come with another replica a moment ago
        except StateError as error:
            raise StateUnavailableError(str(error)) from error
        known_item(service.serving, item_id)
        await _keep(service, [ItemChange(item_id, deleted=True)])
        service.metrics.item_changes.labels("delete").inc()
        return Response(status_code=204)


async def _keep(service: Service, changes: list[ItemChange]) -> None:
    notes = [NewNote("item", change.item_id, pack_change(change)) for change in changes]
    try:
        await service.state.add_notes(notes)
        await service.feed.sync()
    except StateError as error:
        raise StateUnavailableError(str(error)) from error


async def _changes(
    service: Service, ids: Sequence[str], bodies: Sequence[ItemBody], places: Sequence[str]
) -> list[ItemChange]:
    """The changes that bodies ask for.

    Args:
        service: what they are asked of.
        ids: item_ids.
        bodies: of each.
        places: where each stands in the request, for errors.

    Raises:
        InvalidParameterError: one does not fit the bundle; names the modality or column.
    """
    for item_id, place in zip(ids, places, strict=True):
        service.check_id(item_id, f"{place}item_id")
    encoded = await _encoded(service, bodies, places)
    return [_change(service, *each) for each in zip(ids, bodies, encoded, places, strict=True)]


async def _encoded(
    service: Service, bodies: Sequence[ItemBody], places: Sequence[str]
) -> Sequence[Features]:
    """The features that are made of the bodies' content, by modality."""
    given = [body.content or {} for body in bodies]
    count = sum(map(len, given))
    if not count:
        return [{}] * len(bodies)
    fields = [f"{place}content" for place in places]
    field = next(name for name, content in zip(fields, given, strict=True) if content)
    if service.content is None:
        raise InvalidParameterError(f"{field}: no content encoders are configured", field)
    if count > MAX_CONTENTS:
        reason = f"at most {MAX_CONTENTS} texts and pictures are in one request, not {count}"
        raise InvalidParameterError(f"{field}: {reason}", field)
    for body, content, name in zip(bodies, given, fields, strict=True):
        for modality in content.keys() & (body.features or {}).keys():
            where = f"{name}.{modality}"
            raise InvalidParameterError(f"{where}: has features, too", where)
    return await service.content.encode(given, fields)


def _change(
    service: Service, item_id: str, body: ItemBody, encoded: Features, where: str
) -> ItemChange:
    """The change that a body asks for, with what its content was made into."""
    bundle = service.serving.bundle
    features: Features | None = None
    if body.features is not None or encoded:
        posted = (body.features or {}).items()
        features = {name: np.array(row, np.float32) for name, row in posted} | encoded
        try:
            encode_item(bundle.item_encoder, features)
        except InputError as error:
            field = f"{where}features"
            raise InvalidParameterError(f"{field}: {error}", field) from None
    elif item_id not in bundle.items:
        field = f"{where}features"
        raise InvalidParameterError(f"{field}: a new item needs them", field)
    columns = body.columns
    if columns is not None:
        try:
            columns = column_values(bundle.item_table.schema, columns)
        except InputError as error:
            field = f"{where}columns"
            raise InvalidParameterError(f"{field}: {error}", field) from None
    return ItemChange(item_id, features=features, columns=columns)


def add_item_changes(app: FastAPI) -> None:
    """Add the endpoints to an application."""
    answers = error_responses(
        "invalid_parameter", "body_too_large", "overloaded", "state_unavailable"
    )
    app.put(
        "/items/{item_id:id}",
        response_class=Response,
        responses={200: {"model": Item}, **answers},
        tags=["items"],
    )(put_item)
    app.post("/items", responses=answers, tags=["items"])(post_items)
    app.delete(
        "/items/{item_id:id}",
        status_code=204,
        response_class=Response,
        responses=error_responses(
            "unknown_item", "invalid_parameter", "overloaded", "state_unavailable"
        ),
        tags=["items"],
    )(delete_item)
