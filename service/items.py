"""`/items`: new, changed and deleted items, served by every replica within `state_poll` seconds."""

import numpy as np
from fastapi import FastAPI, Response
from numpy.typing import NDArray

from bundle.errors import InputError
from bundle.events import pack_change
from bundle.overlay import ItemChange, column_values, encode_item
from service.errors import InvalidParameterError, StateUnavailableError
from service.identifiers import ItemIdPath
from service.queries import ItemBody, NewItem, NewItems
from service.recommend import known_item
from service.responses import error_responses
from service.running import CurrentService, Service
from service.schemas import Item, ItemsKept
from service.state import NewNote, StateError


async def put_item(item_id: ItemIdPath, body: ItemBody, service: CurrentService) -> Response:
    """Make an item what the body says; it can be recommended at once.

    `features` go through the item encoder; without them an item of the bundle keeps its trained
    vector. `columns` replace all of its columns; without them it keeps those of the bundle.
    """
    with service.permits:
        await _keep(service, [_change(service, item_id, body, "")])
        service.metrics.item_changes.labels("put").inc()
        serving = service.serving
        return Response(
            serving.answers.item(known_item(serving, item_id)), media_type="application/json"
        )


async def post_items(body: NewItems, service: CurrentService) -> ItemsKept:
    """The same for many items: all of them, or with an error none."""
    with service.permits:
        changes = [
            _change(service, item.item_id, item, f"items.{number}.")
            for number, item in enumerate(body.items)
        ]
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


def _change(service: Service, item_id: str, body: ItemBody | NewItem, where: str) -> ItemChange:
    """The change that a body asks for.

    Raises:
        InvalidParameterError: it does not fit the bundle; names the modality or column.
    """
    service.check_id(item_id, f"{where}item_id")
    bundle = service.serving.bundle
    features: dict[str, NDArray[np.float32]] | None = None
    if body.features is not None:
        features = {name: np.array(row, np.float32) for name, row in body.features.items()}
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
    answers = error_responses(413, 422, 503)
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
        responses=error_responses(404, 422, 503),
        tags=["items"],
    )(delete_item)
