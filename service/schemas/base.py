"""Base of all schemas, and types that several of them use.

Bodies are strict: `true` is no number and `1` no truth value. Query parameters are text and cannot
be strict.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MAX_K = 500
"""Maximum number of items of one response."""
DEFAULT_K = 20
"""Number of items of a response if the request does not say."""


class Schema(BaseModel):
    """A model that accepts exactly the fields that it names."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Identifier = Annotated[
    str, Field(min_length=1, description="an id; `/info` has the maximum length, `max_id_length`")
]
"""A user_id or item_id in a body. Its maximum length is a setting, which `check_id` applies."""
AnsweringBundle = Annotated[str, Field(description="version of the bundle that answered")]
K = Annotated[int, Field(ge=1, le=MAX_K, description="number of items", examples=[10])]


class NoQuery(Schema):
    """A query without parameters."""
