"""Schemas of `/items`."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from bundle.catalogue.catalogue import ItemState
from service.schemas.base import AnsweringBundle, Identifier, Schema

MAX_ITEMS = 1000
"""Maximum number of items of one `POST /items`; with wide features the body's limit is lower."""
MAX_CONTENTS = 50
"""Maximum number of texts and images in one request: some seconds with the default encoders."""

Features = Annotated[
    dict[str, list[Annotated[float, Field(allow_inf_nan=False, ge=-3.4e38, le=3.4e38)]]],
    Field(min_length=1, description="feature vector by modality; `/info` lists their lengths"),
]

Columns = Annotated[
    dict[str, Any], Field(description="values by column; columns that are not named become null")
]

Content = Annotated[
    dict[str, Annotated[str, Field(min_length=1)]],
    Field(
        min_length=1,
        description="content by modality, from which features are extracted where `/info` "
        "says so: a text, or an image file in base64",
    ),
]


class ItemContent(Schema):
    """Features and content, of which the vector of an item is made."""

    features: Features | None = None
    content: Content | None = None


class ItemUpdate(ItemContent):
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

    columns: Columns | None = None


class ItemIn(ItemUpdate):
    """An item of `POST /items`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"item_id": "i-77", "columns": {"title": "Blue kettle", "price": 27.5}}]
        }
    )

    item_id: Identifier


class ItemBatch(Schema):
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

    items: Annotated[list[ItemIn], Field(min_length=1, max_length=MAX_ITEMS)]


class ItemsAccepted(Schema):
    """Response of `POST /items`."""

    model_config = ConfigDict(json_schema_extra={"example": {"stored": 2}})

    stored: int = Field(description="number of items that were stored")


class Item(Schema):
    """Response of `/items/{item_id}`: what is known of an item."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "item_id": "i-77",
                "bundle_version": "20260314T091500Z-5f0c2a71",
                "state": "trained",
                "columns": {"title": "Blue kettle", "category": "kitchen", "price": 31.5},
                "interactions": 412,
                "has_vector": True,
            }
        }
    )

    item_id: str
    bundle_version: AnsweringBundle
    state: ItemState = Field(
        description="trained: as in the bundle; changed: with other columns or features; new: "
        "added since the bundle was made"
    )
    columns: dict[str, Any] = Field(description="columns, which filters can use")
    interactions: int = Field(
        description="number at training time; popular items are ordered by it"
    )
    has_vector: bool = Field(description="false if it can only be recommended as a popular item")
