"""What comes out, for OpenAPI; `queries` has what goes in."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from bundle.catalogue import ItemState

Source = Literal["known_user", "folded_in", "session", "popular"]
FallbackReason = Literal["unknown_user", "no_interactions", "unknown_items"]
CacheResult = Literal["hit", "miss"]


class Schema(BaseModel):
    """Exactly the fields that it names."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Reason(Schema):
    """An item of the user's history that speaks for an item of the answer."""

    item_id: str
    share: float = Field(description="of all that the history says for it, 0…1")


class Item(Schema):
    """Answer of `/items`: what the bundle knows of an item."""

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
    bundle_version: str = Field(description="the bundle that answered")
    state: ItemState = Field(
        description="trained: as in the bundle; changed: with other columns or features; new: "
        "it came since"
    )
    columns: dict[str, Any] = Field(description="what filters can ask for")
    interactions: int = Field(description="at training time; what popular items are ordered by")
    has_vector: bool = Field(description="false if nothing resembles it and no user is near it")


class ScoredItem(Schema):
    """An item of an answer."""

    item_id: str
    score: float = Field(
        description="known_user, session: inner product of the vectors; popular: number of "
        "interactions; similar: cosine. Comparable within one answer."
    )
    rank: int = Field(ge=1, description="place, from 1")
    parts: dict[str, float | None] | None = Field(
        default=None,
        description="with `explain`: what each line, modality and popularity adds to the score; "
        "null for items with a vector that is not the bundle's",
    )
    because: list[Reason] | None = Field(
        default=None, description="with `explain`: the items of the history that say most for it"
    )


class SimilarItem(ScoredItem):
    """A similar item."""

    title: str | None = Field(description="null if the bundle has none")


class Exposure(Schema):
    """The arm of an experiment that a user is in."""

    name: str
    arm: str


class Recommendations(Schema):
    """Answer of `/recommend`: the items and what they were made from."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "user_id": "u-1042",
                "bundle_version": "20260314T091500Z-5f0c2a71",
                "source": "known_user",
                "fallback_reason": None,
                "cache": "miss",
                "degraded": False,
                "vector_age": 5400,
                "experiment": None,
                "items": [
                    {"item_id": "i-77", "score": 0.8312, "rank": 1},
                    {"item_id": "i-3", "score": 0.8069, "rank": 2},
                ],
            }
        }
    )

    user_id: str
    bundle_version: str = Field(description="the bundle that answered")
    source: Source = Field(description="what the items were made from")
    fallback_reason: FallbackReason | None = Field(description="why the popular items, if so")
    cache: CacheResult = Field(description="whether the user's vector came from a cache")
    degraded: bool = Field(
        description="a part of the service failed: the items are right for what the bundle knows, "
        "events since may be missing"
    )
    vector_age: int | None = Field(description="s since the user's vector was made; null: none")
    experiment: Exposure | None = Field(description="the arm that the user is in, if any")
    items: list[ScoredItem] = Field(description="best first; fewer than k if there are no more")
    next_cursor: str | None = Field(
        default=None, description="with `cursor`: of the next page; null after the last one"
    )


class SessionRecommendations(Schema):
    """Answer of `POST /recommend/items`."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "bundle_version": "20260314T091500Z-5f0c2a71",
                "source": "session",
                "fallback_reason": None,
                "cache": "miss",
                "degraded": False,
                "vector_age": 0,
                "experiment": None,
                "unknown_items": [],
                "items": [{"item_id": "i-12", "score": 0.7921, "rank": 1}],
            }
        }
    )

    bundle_version: str = Field(description="the bundle that answered")
    source: Source = Field(description="what the items were made from")
    fallback_reason: FallbackReason | None = Field(description="why the popular items, if so")
    cache: CacheResult = Field(description="miss: a session's vector is made for each request")
    degraded: bool = Field(
        description="a part of the service failed: changes of items since may be missing"
    )
    vector_age: int | None = Field(description="0, made for this request; null: none")
    experiment: None = Field(description="sessions are in none: arms go by user_id")
    unknown_items: list[str] = Field(description="of the session, those that count for nothing")
    items: list[ScoredItem] = Field(description="best first; fewer than k if there are no more")


class EventsKept(Schema):
    """Answer of `POST /events`."""

    model_config = ConfigDict(json_schema_extra={"example": {"accepted": 2, "repeated": 1}})

    accepted: int = Field(description="events that were kept")
    repeated: int = Field(description="events whose key had been seen before")


class ItemsKept(Schema):
    """Answer of `POST /items`."""

    model_config = ConfigDict(json_schema_extra={"example": {"stored": 2}})

    stored: int


class KnownEvent(Schema):
    """An event of a user."""

    item_id: str
    type: str
    timestamp: float = Field(description="s since 1970, UTC")
    weight: float


class User(Schema):
    """Answer of `/users`: what is known of a user."""

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
    bundle_version: str = Field(description="the bundle that answered")
    trained: bool = Field(description="whether the bundle knows the user")
    interactions: list[str] = Field(description="item_ids, at training time")
    events: list[KnownEvent] = Field(description="since, those that still count, oldest first")


class SimilarItems(Schema):
    """Answer of `/similar`."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "item_id": "i-77",
                "bundle_version": "20260314T091500Z-5f0c2a71",
                "degraded": False,
                "items": [
                    {"item_id": "i-3", "score": 0.9127, "rank": 1, "title": "Blue kettle"},
                    {"item_id": "i-9", "score": 0.8871, "rank": 2, "title": None},
                ],
            }
        }
    )

    item_id: str
    bundle_version: str = Field(description="the bundle that answered")
    degraded: bool = Field(
        description="Redis or the state fails: items that changed of late may be missing"
    )
    items: list[SimilarItem] = Field(
        description="most similar first, without the item itself; none if it has no vector"
    )


class ManyRecommendations(Schema):
    """Answer of `POST /recommend`."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "results": [
                    {
                        "user_id": "u-1042",
                        "bundle_version": "20260314T091500Z-5f0c2a71",
                        "source": "known_user",
                        "fallback_reason": None,
                        "cache": "hit",
                        "degraded": False,
                        "vector_age": 5400,
                        "experiment": None,
                        "items": [{"item_id": "i-77", "score": 0.8312, "rank": 1}],
                    },
                    {
                        "error": {
                            "code": "invalid_parameter",
                            "message": "user_id: must not be empty",
                            "field": "user_id",
                            "request_id": "4f1f0a9be2c3d845",
                        }
                    },
                ]
            }
        }
    )

    results: list["Recommendations | ErrorBody"] = Field(
        description="for each user in the order of the request"
    )


class ErrorDetail(Schema):
    """What went wrong."""

    code: str = Field(description="for programs", examples=["invalid_parameter"])
    message: str = Field(description="for people", examples=["k: must be at least 1, got '0'"])
    field: str | None = Field(description="the parameter to blame, if one is", examples=["k"])
    request_id: str | None = Field(description="as in X-Request-ID; it is in the logs, too")


class ErrorBody(Schema):
    """The shape of every error."""

    error: ErrorDetail
