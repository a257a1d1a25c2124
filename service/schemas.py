"""What goes in and out, for validation and for OpenAPI."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from bundle.filters import MAX_LENGTH as MAX_FILTER

MAX_K = 500
DEFAULT_K = 20

K = Annotated[int, Field(ge=1, le=MAX_K, description="how many items")]
MAX_USERS = 500
"""Users of one request: some 30 ms of searching among 6,710 items."""
MAX_RESULTS = 100_000
"""Results of one request for many users, each as many as are looked at to choose k."""
MAX_EXCLUDED = 100
"""Items that a query may exclude; what users have seen does not count."""
POOL = 10
"""Times k: among so many the diverse ones are chosen."""
MAX_SESSION = 500
"""Items of a session: more than anybody looks at in one sitting."""

Source = Literal["known_user", "session", "popular"]
FallbackReason = Literal["unknown_user", "no_interactions", "unknown_items"]
CacheResult = Literal["hit", "miss"]


class _Schema(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Filter = Annotated[
    str | None,
    Field(
        max_length=MAX_FILTER,
        description="which items may come back, by their columns",
        examples=['category = "shoes" and price < 50'],
    ),
]


class RecommendQuery(_Schema):
    """Parameters of `/recommend`."""

    k: K = DEFAULT_K
    exclude_seen: Annotated[
        bool, Field(description="leave out what the user had interacted with at training time")
    ] = True
    exclude: Annotated[
        list[str],
        Field(max_length=MAX_EXCLUDED, description="items that must not come back, repeated"),
    ] = []
    filter: Filter = None
    diversity: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="0 takes the best scores, more takes items that differ from each other "
            "(maximal marginal relevance)",
        ),
    ] = 0.0
    explain: Annotated[bool, Field(description="say for each item what its score is made of")] = (
        False
    )


class ManyUsers(RecommendQuery):
    """Body of `POST /recommend`."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"users": ["u-1042", "u-7"], "k": 10, "exclude_seen": True}}
    )

    users: Annotated[list[str], Field(min_length=1, max_length=MAX_USERS)]


ItemId = Annotated[str, Field(min_length=1, max_length=1024)]


class SessionItem(_Schema):
    """An item that somebody liked."""

    item_id: ItemId
    weight: Annotated[
        float, Field(gt=0, le=1e6, allow_inf_nan=False, description="how much, beside the others")
    ] = 1.0


class SessionQuery(_Schema):
    """Body of `POST /recommend/items`."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "items": [{"item_id": "i-77", "weight": 2}, {"item_id": "i-3"}],
                "disliked": ["i-9"],
                "k": 10,
            }
        }
    )

    items: Annotated[list[SessionItem], Field(min_length=1, max_length=MAX_SESSION)]
    disliked: Annotated[
        list[ItemId], Field(max_length=MAX_SESSION, description="never in the answer")
    ] = []
    k: K = DEFAULT_K
    exclude_items: Annotated[bool, Field(description="leave out the liked items")] = True
    filter: Filter = None


class SimilarQuery(_Schema):
    """Parameters of `/similar`."""

    k: K = DEFAULT_K
    by: Annotated[
        str,
        Field(
            description="what is compared: `fused`, or one of the bundle's parts but popularity, "
            "e.g. `behaviour` or `image` (`/info` has them)",
            examples=["fused", "behaviour", "image"],
        ),
    ] = "fused"
    filter: Filter = None


class Reason(_Schema):
    """An item of the user's history that speaks for an item of the answer."""

    item_id: str
    share: float = Field(description="of all that the history says for it, 0…1")


class NoQuery(_Schema):
    """No parameters."""


class Item(_Schema):
    """Answer of `/items`: what the bundle knows of an item."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "item_id": "i-77",
                "bundle_version": "20260314T091500Z-5f0c2a71",
                "columns": {"title": "Blue kettle", "category": "kitchen", "price": 31.5},
                "interactions": 412,
                "has_vector": True,
            }
        }
    )

    item_id: str
    bundle_version: str = Field(description="the bundle that answered")
    columns: dict[str, Any] = Field(description="what filters can ask for")
    interactions: int = Field(description="at training time; what popular items are ordered by")
    has_vector: bool = Field(description="false if nothing resembles it and no user is near it")


class ScoredItem(_Schema):
    """An item of an answer."""

    item_id: str
    score: float = Field(
        description="known_user, session: inner product of the vectors; popular: number of "
        "interactions; similar: cosine. Comparable within one answer."
    )
    rank: int = Field(ge=1, description="place, from 1")
    parts: dict[str, float] | None = Field(
        default=None,
        description="with `explain`: what each line, modality and popularity adds to the score",
    )
    because: list[Reason] | None = Field(
        default=None, description="with `explain`: the items of the history that say most for it"
    )


class SimilarItem(ScoredItem):
    """A similar item."""

    title: str | None = Field(description="null if the bundle has none")


class Recommendations(_Schema):
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
    degraded: bool = Field(description="a part of the service failed; the items are right anyway")
    items: list[ScoredItem] = Field(description="best first; fewer than k if there are no more")


class SessionRecommendations(_Schema):
    """Answer of `POST /recommend/items`."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "bundle_version": "20260314T091500Z-5f0c2a71",
                "source": "session",
                "fallback_reason": None,
                "unknown_items": [],
                "items": [{"item_id": "i-12", "score": 0.7921, "rank": 1}],
            }
        }
    )

    bundle_version: str = Field(description="the bundle that answered")
    source: Source = Field(description="what the items were made from")
    fallback_reason: FallbackReason | None = Field(description="why the popular items, if so")
    unknown_items: list[str] = Field(description="of the session, those that count for nothing")
    items: list[ScoredItem] = Field(description="best first; fewer than k if there are no more")


class SimilarItems(_Schema):
    """Answer of `/similar`."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "item_id": "i-77",
                "bundle_version": "20260314T091500Z-5f0c2a71",
                "items": [
                    {"item_id": "i-3", "score": 0.9127, "rank": 1, "title": "Blue kettle"},
                    {"item_id": "i-9", "score": 0.8871, "rank": 2, "title": None},
                ],
            }
        }
    )

    item_id: str
    bundle_version: str = Field(description="the bundle that answered")
    items: list[SimilarItem] = Field(
        description="most similar first, without the item itself; none if it has no vector"
    )


class ManyRecommendations(_Schema):
    """Answer of `POST /recommend`."""

    results: list["Recommendations | ErrorBody"] = Field(
        description="for each user in the order of the request"
    )


class ErrorDetail(_Schema):
    """What went wrong."""

    code: str = Field(description="for programs", examples=["invalid_parameter"])
    message: str = Field(description="for people", examples=["k: must be at least 1, got '0'"])
    field: str | None = Field(description="the parameter to blame, if one is", examples=["k"])
    request_id: str | None = Field(description="as in X-Request-ID; it is in the logs, too")


class ErrorBody(_Schema):
    """The shape of every error."""

    error: ErrorDetail


class Health(_Schema):
    """Answer of `/healthz`."""

    status: Literal["alive"] = "alive"


class Readiness(_Schema):
    """Answer of `/readyz`."""

    status: Literal["ready"] = "ready"
    bundle_version: str
    degraded: bool = Field(description="Redis is configured and fails; answers stay right")
    redis: Literal["off", "ok", "failing"]


class PartInfo(_Schema):
    """Columns of the vectors, start ≤ d < stop, that hold one line or modality."""

    name: str
    start: int
    stop: int


class BundleInfo(_Schema):
    """The running bundle."""

    version: str
    created_at: str
    parent_version: str | None
    data_fingerprint: str
    users: int
    items: int
    dim: int
    parts: list[PartInfo]
    modalities: dict[str, int] = Field(description="features of each modality")
    index: Literal["flat", "ivf"]
    index_recall: float
    report: dict[str, Any] = Field(description="the evaluation that it was published with")


class Limits(_Schema):
    """What a request may ask for."""

    max_k: int
    max_id_length: int
    max_body: int
    max_session: int
    max_users: int
    max_concurrency: int


class Info(_Schema):
    """Answer of `/info`."""

    bundle: BundleInfo
    limits: Limits
    threads: int = Field(description="searches at a time and ONNX threads, in a worker")
    settings: dict[str, Any] = Field(description="the configuration, without secrets")
