"""What goes in, for validation and for OpenAPI; `schemas` has what comes out."""

from typing import Annotated

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


class RecommendQuery(Schema):
    """Parameters of `/recommend`."""

    k: K = DEFAULT_K
    exclude_seen: Annotated[
        bool, Field(description="leave out what the user had interacted with at training time")
    ] = True
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


class SessionItem(Schema):
    """An item that somebody liked."""

    item_id: ItemId
    weight: Annotated[
        float, Field(gt=0, le=1e6, allow_inf_nan=False, description="how much, beside the others")
    ] = 1.0


class SessionQuery(Schema):
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
    k: K = DEFAULT_K
    exclude_items: Annotated[bool, Field(description="leave out the liked items")] = True
    filter: Filter = None


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
