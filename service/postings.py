"""What comes in to be kept, items and events, for validation and for OpenAPI.

Strict as the bodies of `queries`.
"""

from datetime import datetime
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from service.queries import ItemId
from service.schemas import Schema

MAX_ITEMS = 1000
"""Items of one `POST /items`; the body's limit comes first with wide features."""
MAX_CONTENTS = 50
"""Texts and pictures of one request: with the default encoders some seconds at worst."""
MAX_EVENTS = 1000
"""Events of one `POST /events`."""

Features = Annotated[
    dict[str, list[Annotated[float, Field(allow_inf_nan=False, ge=-3.4e38, le=3.4e38)]]],
    Field(min_length=1, description="by modality; as many numbers as `/info` says"),
]
Columns = Annotated[
    dict[str, Any], Field(description="what filters ask for; columns left out are null")
]


Content = Annotated[
    dict[str, Annotated[str, Field(min_length=1)]],
    Field(
        min_length=1,
        description="by modality, where `/info` says of what features are made: a text, or a "
        "picture file in base64",
    ),
]


class ItemBody(Schema):
    """Body of `PUT /items/{item_id}`."""

    model_config = ConfigDict(
        strict=True,
        json_schema_extra={
            "examples": [
                {
                    "features": {"image": [0.12, -0.4], "text": [0.03, 0.71]},
                    "columns": {"title": "Green kettle", "category": "kitchen", "price": 29.0},
                },
                {"content": {"text": "Green kettle"}, "columns": {"title": "Green kettle"}},
            ]
        },
    )

    features: Features | None = None
    content: Content | None = None
    columns: Columns | None = None


class NewItem(ItemBody):
    """An item of `POST /items`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"item_id": "i-77", "columns": {"title": "Blue kettle", "price": 27.5}}]
        }
    )

    item_id: ItemId


class NewItems(Schema):
    """Body of `POST /items`."""

    model_config = ConfigDict(
        strict=True,
        json_schema_extra={
            "example": {
                "items": [
                    {
                        "item_id": "i-4711",
                        "features": {"image": [0.12, -0.4], "text": [0.03, 0.71]},
                        "columns": {"title": "Green kettle", "price": 29.0},
                    },
                    {"item_id": "i-77", "columns": {"price": 27.5}},
                ]
            }
        },
    )

    items: Annotated[list[NewItem], Field(min_length=1, max_length=MAX_ITEMS)]


class PostedEvent(Schema):
    """An interaction."""

    model_config = ConfigDict(strict=True)

    user_id: ItemId
    item_id: ItemId
    type: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9_.-]{1,64}$",
            description="the caller's word for it; its weight can be configured",
        ),
    ] = "view"
    timestamp: Annotated[
        datetime | None,
        Field(strict=False, description="ISO 8601 or s since 1970; now by default"),
    ] = None
    weight: Annotated[
        float | None,
        Field(
            ge=-1e6,
            le=1e6,
            allow_inf_nan=False,
            description="how much it counts, beside 1 of each interaction at training time; below "
            "0 it counts against",
        ),
    ] = None
    key: Annotated[
        str | None,
        Field(min_length=1, max_length=128, description="idempotency key, of this user"),
    ] = None


class NewEvents(Schema):
    """Body of `POST /events`."""

    model_config = ConfigDict(
        strict=True,
        json_schema_extra={
            "example": {
                "events": [
                    {
                        "user_id": "u-1042",
                        "item_id": "i-77",
                        "type": "purchase",
                        "timestamp": "2026-03-14T09:15:00Z",
                        "key": "order-31-77",
                    }
                ]
            }
        },
    )

    events: Annotated[list[PostedEvent], Field(min_length=1, max_length=MAX_EVENTS)]
