"""Schemas of `/events`."""

from datetime import datetime
from typing import Annotated

from pydantic import ConfigDict, Field

from bundle.events.weights import DEFAULT_TYPE, TYPE, Weight
from service.schemas.base import Identifier, Schema

MAX_EVENTS = 1000
"""Maximum number of events of one `POST /events`."""


class EventIn(Schema):
    """An interaction to store."""

    model_config = ConfigDict(strict=True)

    user_id: Identifier
    item_id: Identifier
    type: Annotated[
        str,
        Field(
            pattern=f"^{TYPE.pattern}$",
            description="type of the interaction; the weight of each type can be configured",
        ),
    ] = DEFAULT_TYPE
    timestamp: Annotated[
        datetime | None,
        Field(
            strict=False,
            description="ISO 8601, or seconds or milliseconds since 1970; now by default",
        ),
    ] = None
    weight: Annotated[
        Weight | None,
        Field(
            description="weight, where each interaction at training time has 1; negative weights "
            "count against the item",
        ),
    ] = None
    key: Annotated[
        str | None,
        Field(min_length=1, max_length=128, description="idempotency key, unique for this user"),
    ] = None


class EventBatch(Schema):
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

    events: Annotated[list[EventIn], Field(min_length=1, max_length=MAX_EVENTS)]


class EventsAccepted(Schema):
    """Response of `POST /events`."""

    model_config = ConfigDict(json_schema_extra={"example": {"accepted": 2, "repeated": 1}})

    accepted: int = Field(description="number of events that were stored")
    repeated: int = Field(description="number of events whose key was seen before")
