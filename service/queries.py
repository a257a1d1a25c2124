"""What goes in, for validation and for OpenAPI; `schemas` has what comes out.

Bodies are strict: `true` is no number and `1` no truth value. Queries are text and cannot be.
"""

from typing import Annotated

from pydantic import ConfigDict, Field

from bundle.filters import MAX_LENGTH as MAX_FILTER
from service.schemas import Schema

MAX_K = 500
DEFAULT_K = 20

K = Annotated[int, Field(ge=1, le=MAX_K, description="how many items", examples=[10])]
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
            examples=[["i-3", "i-9"]],
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
            examples=[0.3],
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
        bool, Field(description="leave out what the user has interacted with", examples=[True])
    ] = True
    explain: Annotated[
        bool, Field(description="say for each item what its score is made of", examples=[True])
    ] = False


class RecommendQuery(UserQuery):
    """Parameters of `/recommend`."""

    cursor: Annotated[
        str | None,
        Field(
            max_length=100,
            description="`new` begins to page through a ranking; then `next_cursor` of the page "
            "before, with the same other parameters but `k`",
            examples=["new"],
        ),
    ] = None


class ManyUsers(UserQuery):
    """Body of `POST /recommend`."""

    model_config = ConfigDict(
        strict=True,
        json_schema_extra={"example": {"users": ["u-1042", "u-7"], "k": 10, "exclude_seen": True}},
    )

    users: Annotated[list[str], Field(min_length=1, max_length=MAX_USERS)]


ItemId = Annotated[str, Field(min_length=1, max_length=1024)]


class SessionItem(Schema):
    """An item that somebody liked."""

    model_config = ConfigDict(strict=True)

    item_id: ItemId
    weight: Annotated[
        float, Field(gt=0, le=1e6, allow_inf_nan=False, description="how much, beside the others")
    ] = 1.0


class SessionQuery(SearchQuery):
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


class NoQuery(Schema):
    """No parameters."""
