"""Schemas of `/recommend` and `/similar`."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from bundle.search.options import Boosts, Diversity, FilterText, Weights
from service.schemas.base import DEFAULT_K, AnsweringBundle, Identifier, K, Schema
from service.schemas.errors import ErrorBody
from service.types import AnswerSource, CacheResult, FallbackReason

MAX_USERS = 500
"""Maximum number of users of one request: about 30 ms of search among 6,710 items."""
MAX_EXCLUDED = 100
"""Maximum number of items that a request may exclude; the user's own items do not count."""
MAX_PAGED = 1000
"""Number of results of a ranking that is paged through."""
MAX_SESSION = 500
"""Maximum number of items of a session: more than anybody looks at in one sitting."""


class SearchQuery(Schema):
    """Parameters of a search."""

    k: K = DEFAULT_K
    exclude: Annotated[
        list[Identifier],
        Field(
            default_factory=list,
            max_length=MAX_EXCLUDED,
            description="item_id that must not be returned; repeatable",
            examples=[["i-3", "i-9"]],
        ),
    ]
    filter: FilterText = None
    diversity: Diversity = 0.0
    weights: Weights = None
    boost: Boosts = Field(default_factory=list)
    explain: Annotated[
        bool, Field(description="add to each item what its score is made of", examples=[True])
    ] = False


class UserQuery(SearchQuery):
    """Parameters of a search for a user."""

    exclude_seen: Annotated[
        bool, Field(description="omit the items that the user has interacted with", examples=[True])
    ] = True


class RecommendQuery(UserQuery):
    """Parameters of `/recommend/{user_id}`."""

    cursor: Annotated[
        str | None,
        Field(
            max_length=100,
            description="`new` starts paging through a ranking; each further page takes the "
            "`next_cursor` of the previous one, with the same parameters except `k`",
            examples=["new"],
        ),
    ] = None


class BatchRecommendRequest(UserQuery):
    """Body of `POST /recommend`."""

    model_config = ConfigDict(
        strict=True,
        json_schema_extra={"example": {"users": ["u-1042", "u-7"], "k": 10, "exclude_seen": True}},
    )

    users: Annotated[list[str], Field(min_length=1, max_length=MAX_USERS)]


class SessionItem(Schema):
    """An item that an anonymous user liked."""

    model_config = ConfigDict(strict=True)

    item_id: Identifier
    weight: Annotated[
        float,
        Field(gt=0, le=1e6, allow_inf_nan=False, description="weight relative to the other items"),
    ] = 1.0


class SessionRequest(SearchQuery):
    """Body of `POST /recommend/items`."""

    model_config = ConfigDict(
        strict=True,
        json_schema_extra={
            "example": {
                "items": [{"item_id": "i-77", "weight": 2}, {"item_id": "i-3"}],
                "disliked": ["i-9"],
                "k": 10,
            }
        },
    )

    items: Annotated[list[SessionItem], Field(min_length=1, max_length=MAX_SESSION)]
    disliked: Annotated[
        list[Identifier],
        Field(
            default_factory=list,
            max_length=MAX_SESSION,
            description="item_ids that count against, and are never returned",
        ),
    ]
    exclude_items: Annotated[bool, Field(description="omit the liked items from the response")] = (
        True
    )


class Reason(Schema):
    """An item of the user's history that contributes to a recommended item's score."""

    item_id: str
    share: float = Field(description="share of the history's whole contribution, 0 to 1")


class ScoredItem(Schema):
    """A recommended item."""

    item_id: str
    score: float = Field(
        description="known_user, session: inner product of the vectors; popular: number of "
        "interactions; similar: cosine. Comparable within one response."
    )
    rank: int = Field(ge=1, description="position, from 1")
    parts: dict[str, float | None] | None = Field(
        default=None,
        description="with `explain`: what each line, modality and popularity adds to the score; "
        "null for items whose vector is not the bundle's",
    )
    because: list[Reason] | None = Field(
        default=None, description="with `explain`: the items of the history that contribute most"
    )


class ExperimentExposure(Schema):
    """The experiment's arm that a user is in."""

    name: str
    arm: str


ANSWER: dict[str, Any] = {
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
"""An example of `Recommendations`."""


class Recommendations(Schema):
    """Response of `/recommend/{user_id}`: the items and where they come from."""

    model_config = ConfigDict(json_schema_extra={"example": ANSWER})

    user_id: str
    bundle_version: AnsweringBundle
    source: AnswerSource = Field(description="origin of the items")
    fallback_reason: FallbackReason | None = Field(
        description="reason for popular items, if they are"
    )
    cache: CacheResult = Field(description="whether the user's vector came from a cache")
    degraded: bool = Field(
        description="a part of the service failed: the items are correct for what the bundle "
        "knows, newer events may be missing"
    )
    vector_age: int | None = Field(
        description="age of the user's vector in seconds; null without a vector"
    )
    experiment: ExperimentExposure | None = Field(description="the arm that the user is in, if any")
    items: list[ScoredItem] = Field(description="best first; fewer than k if there are no more")
    next_cursor: str | None = Field(
        default=None, description="with `cursor`: cursor of the next page; null on the last one"
    )


class SessionRecommendations(Schema):
    """Response of `POST /recommend/items`."""

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

    bundle_version: AnsweringBundle
    source: AnswerSource = Field(description="origin of the items")
    fallback_reason: FallbackReason | None = Field(
        description="reason for popular items, if they are"
    )
    cache: CacheResult = Field(
        description="always `miss`: a session's vector is made for each request"
    )
    degraded: bool = Field(
        description="a part of the service failed: recent changes of items may be missing"
    )
    vector_age: int | None = Field(
        description="0, as it is made for this request; null without a vector"
    )
    experiment: None = Field(description="always null: arms are assigned by user_id")
    unknown_items: list[str] = Field(
        description="item_ids of the session that are unknown and were ignored"
    )
    items: list[ScoredItem] = Field(description="best first; fewer than k if there are no more")


class BatchRecommendations(Schema):
    """Response of `POST /recommend`."""

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
        description="for each user, in the order of the request"
    )
