"""Errors as OpenAPI describes them."""

from typing import Any

from service.schemas import ErrorBody

DESCRIPTIONS: dict[int, tuple[str, str, str, str | None]] = {
    404: (
        "There is no such item.",
        "unknown_item",
        "item_id: the bundle has no such item",
        "item_id",
    ),
    405: ("Wrong method.", "method_not_allowed", "POST is not possible here, only GET", None),
    413: (
        "The body is too large.",
        "body_too_large",
        "the body has more than 1000000 bytes",
        None,
    ),
    422: ("A parameter does not fit.", "invalid_parameter", "k: must be at least 1, got '0'", "k"),
    500: (
        "A defect; the logs have it under the request id.",
        "internal_error",
        "internal error",
        None,
    ),
    503: (
        "Overloaded; try again after the seconds in Retry-After.",
        "overloaded",
        "256 requests are in work; try again in a moment",
        None,
    ),
}


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """FastAPI's `responses` for these statuses and for 500, with an example each."""
    described: dict[int | str, dict[str, Any]] = {}
    for status in (*statuses, 500):
        description, code, message, field = DESCRIPTIONS[status]
        error = {"code": code, "message": message, "field": field, "request_id": "4f1f0a9be2c3d845"}
        described[status] = {
            "model": ErrorBody,
            "description": description,
            "content": {"application/json": {"example": {"error": error}}},
        }
    return described
