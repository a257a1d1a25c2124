"""Schemas of `/users`."""

from pydantic import ConfigDict, Field

from service.schemas.base import AnsweringBundle, Schema


class UserEvent(Schema):
    """A stored event of a user."""

    item_id: str
    type: str
    timestamp: float = Field(description="seconds since 1970, UTC")
    weight: float


class User(Schema):
    """Response of `/users/{user_id}`: what is known of a user."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "user_id": "u-1042",
                "bundle_version": "20260314T091500Z-5f0c2a71",
                "trained": True,
                "interactions": ["i-3", "i-12"],
                "events": [
                    {
                        "item_id": "i-77",
                        "type": "purchase",
                        "timestamp": 1773479700.0,
                        "weight": 1.0,
                    }
                ],
            }
        }
    )

    user_id: str
    bundle_version: AnsweringBundle
    trained: bool = Field(description="whether the bundle knows the user")
    interactions: list[str] = Field(description="item_ids of the interactions at training time")
    events: list[UserEvent] = Field(description="newer events that still count, oldest first")
