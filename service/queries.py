"""What goes in, for validation and for OpenAPI; `schemas` has what comes out."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from bundle.filters import MAX_LENGTH as MAX_FILTER
from service.schemas import Schema

MAX_K = 500
DEFAULT_K = 20

K = Annotated[int, Field(ge=1, le=MAX_K, description="how many items")]
MAX_USERS = 500
"""Users of one request: some 30 ms of searching among 6,710 items."""
MAX_RESULTS = 100_000
"""Results of one request for many users, each as many as are looked at to choose k."""
MAX_EXCLUDED = 100
"""Items that a query may exclude; what users have seen does not count."""
MAX_BOOSTS = 5
MAX_WEIGHT = 1000.0
MAX_PAGED = 1000
"""Results of a ranking that is paged through."""
POOL = 10
"""Times k: among so many the diverse ones are chosen."""
MAX_ITEMS = 1000
"""Items of one `POST /items`; the body's limit comes first with wide features."""
MAX_CONTENTS = 50
"""Texts and pictures of one request: with the default encoders some seconds at worst."""
MAX_EVENTS = 1000
"""Events of one `POST /events`."""
MAX_SESSION = 500
"""Items of a session: more than anybody looks at in one sitting."""


Filter = Annotated[
    str | None,
    Field(
        max_length=MAX_FILTER,
        description="which items may come back, by their columns",
        examples=['category = "shoes" and price < 50'],
    ),
]


class SearchQuery(Schema):
    """What a search can be told."""

    k: K = DEFAULT_K
    exclude: Annotated[
        list[str],
        Field(
            default_factory=list,
            max_length=MAX_EXCLUDED,
            description="items that must not come back, repeated",
        ),
    ]
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
    weights: Annotated[
        str | None,
        Field(
            max_length=1000,
            description="scales what lines and modalities add to a score; 1 for those left out",
            examples=["image:1.5,behaviour:1"],
        ),
    ] = None
    boost: Annotated[
        list[Annotated[str, Field(max_length=MAX_FILTER + 30)]],
        Field(
            default_factory=list,
            max_length=MAX_BOOSTS,
            description="AMOUNT:FILTER adds an amount to the scores of items, repeated",
            examples=[['0.1:category = "shoes"']],
        ),
    ]


class UserQuery(SearchQuery):
    """What a search for a user can be told."""

    exclude_seen: Annotated[
        bool, Field(description="leave out what the user has interacted with")
    ] = True
    explain: Annotated[bool, Field(description="say for each item what its score is made of")] = (
        False
    )


class RecommendQuery(UserQuery):
    """Parameters of `/recommend`."""

    cursor: Annotated[
        str | None,
        Field(
            max_length=100,
            description="`new` begins to page through a ranking; then `next_cursor` of the page "
            "before, with the same other parameters but `k`",
        ),
    ] = None


class ManyUsers(UserQuery):
    """Body of `POST /recommend`."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"users": ["u-1042", "u-7"], "k": 10, "exclude_seen": True}}
    )

    users: Annotated[list[str], Field(min_length=1, max_length=MAX_USERS)]


ItemId = Annotated[str, Field(min_length=1, max_length=1024)]


class SessionItem(Schema):
    """An item that somebody liked."""

    item_id: ItemId
    weight: Annotated[
        float, Field(gt=0, le=1e6, allow_inf_nan=False, description="how much, beside the others")
    ] = 1.0


class SessionQuery(SearchQuery):
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
        list[ItemId],
        Field(default_factory=list, max_length=MAX_SESSION, description="never in the answer"),
    ]
    exclude_items: Annotated[bool, Field(description="leave out the liked items")] = True


class SimilarQuery(Schema):
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
        json_schema_extra={
            "examples": [
                {
                    "features": {"image": [0.12, -0.4], "text": [0.03, 0.71]},
                    "columns": {"title": "Green kettle", "category": "kitchen", "price": 29.0},
                },
                {"content": {"text": "Green kettle"}, "columns": {"title": "Green kettle"}},
            ]
        }
    )

    features: Features | None = None
    content: Content | None = None
    columns: Columns | None = None


class NewItem(ItemBody):
    """An item of `POST /items`."""

    item_id: ItemId


class NewItems(Schema):
    """Body of `POST /items`."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "items": [
                    {
                        "item_id": "i-4711",
                        "features": {"image": [0.12, -0.4], "text": [0.03, 0.71]},
                        "columns": {"title": "Green kettle", "price": 29.0},
                    },
                    {"item_id": "i-77", "columns": {"title": "Blue kettle", "price": 27.5}},
                ]
            }
        }
    )

    items: Annotated[list[NewItem], Field(min_length=1, max_length=MAX_ITEMS)]


class PostedEvent(Schema):
    """An interaction."""

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
        datetime | None, Field(description="ISO 8601 or s since 1970; now by default")
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
        }
    )

    events: Annotated[list[PostedEvent], Field(min_length=1, max_length=MAX_EVENTS)]


class NoQuery(Schema):
    """No parameters."""
