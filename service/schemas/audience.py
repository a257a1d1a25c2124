"""Schemas of `/audience` and `/preview`."""

from typing import Annotated

from pydantic import ConfigDict, Field

from service.schemas.base import AnsweringBundle, Schema
from service.schemas.items import ItemContent
from service.schemas.similar import SimilarItem

MAX_AUDIENCE = 100
"""Maximum number of users of an audience: four times as many are ranked."""
DEFAULT_AUDIENCE = 10
"""Number of users of an audience if the request does not say."""

Size = Annotated[
    int,
    Field(
        ge=1, le=MAX_AUDIENCE, description="number of users, and of similar items", examples=[10]
    ),
]


class Fan(Schema):
    """A user for whom an item stands high."""

    user_id: str
    rank: int = Field(ge=1, description="position of the item in the user's recommendations")
    score: float = Field(description="of the item for the user")


class AudienceQuery(Schema):
    """Parameters of `/audience/{item_id}`."""

    k: Size = DEFAULT_AUDIENCE


class Audience(Schema):
    """Response of `/audience/{item_id}`."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "item_id": "i-77",
                "bundle_version": "20260314T091500Z-5f0c2a71",
                "users": [
                    {"user_id": "u-1042", "rank": 1, "score": 0.8312},
                    {"user_id": "u-7", "rank": 3, "score": 0.7911},
                ],
            }
        }
    )

    item_id: str
    bundle_version: AnsweringBundle
    users: list[Fan] = Field(
        description="by rank; without users who know the item, none if it has no vector"
    )


class PreviewRequest(ItemContent):
    """Body of `POST /preview`: an item that is not stored."""

    model_config = ConfigDict(
        strict=True,
        json_schema_extra={
            "examples": [
                {"features": {"image": [0.12, -0.4], "text": [0.03, 0.71]}, "k": 10},
                {"content": {"text": "Green kettle"}},
            ]
        },
    )

    k: Size = DEFAULT_AUDIENCE


class Preview(Schema):
    """Response of `POST /preview`: what an item would be to the others and to the users."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "bundle_version": "20260314T091500Z-5f0c2a71",
                "similar": [{"item_id": "i-3", "score": 0.9127, "rank": 1, "title": "Blue kettle"}],
                "audience": [{"user_id": "u-1042", "rank": 1, "score": 0.8312}],
            }
        }
    )

    bundle_version: AnsweringBundle
    similar: list[SimilarItem] = Field(description="the most similar items, most similar first")
    audience: list[Fan] = Field(description="the users for whom it would stand highest")
