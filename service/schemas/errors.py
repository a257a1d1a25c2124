"""Schemas of errors."""

from pydantic import Field

from service.schemas.base import Schema


class ErrorDetail(Schema):
    """The error."""

    code: str = Field(description="kind of the error, for programs", examples=["invalid_parameter"])
    message: str = Field(
        description="explanation, for people", examples=["k: must be at least 1, got '0'"]
    )
    field: str | None = Field(
        description="name of the parameter that is wrong, if one is", examples=["k"]
    )
    request_id: str | None = Field(description="as in X-Request-ID and in the logs")


class ErrorBody(Schema):
    """The shape of every error."""

    error: ErrorDetail
