"""Errors as OpenAPI describes them."""

from typing import Any

from service.schemas import ErrorBody

DESCRIPTIONS: dict[int, tuple[str, str, str, str | None]] = {
    401: (
        "An API key is needed, and there is none or an unknown one.",
        "unauthorized",
        "the API key is not known",
        None,
    ),
    403: (
        "The API key lacks the scope.",
        "forbidden",
        "this needs a key with the scope write",
        None,
    ),
    404: (
        "There is no such item or user.",
        "unknown_item",
        "item_id: there is no such item",
        "item_id",
    ),
    405: ("Wrong method.", "method_not_allowed", "POST is not possible here, only GET", None),
    408: (
        "The body did not come in time.",
        "body_timeout",
        "the body did not come within 5 s",
        None,
    ),
    409: (
        "The store's live bundle cannot be served; the one before still is.",
        "bundle_refused",
        "item_vectors.npy: its checksum is not the manifest's; the file was altered",
        None,
    ),
    410: (
        "The ranking that the cursor pages through is not kept any more; begin anew.",
        "cursor_expired",
        "cursor: has expired",
        "cursor",
    ),
    413: (
        "The body is too large.",
        "body_too_large",
        "the body has more than 1000000 bytes",
        None,
    ),
    422: ("A parameter does not fit.", "invalid_parameter", "k: must be at least 1, got '0'", "k"),
    429: (
        "The API key's requests come too often; try again after the seconds in Retry-After.",
        "rate_limited",
        "the key's requests come too often",
        None,
    ),
    500: (
        "A defect; the logs have it under the request id.",
        "internal_error",
        "internal error",
        None,
    ),
    503: (
        "Overloaded, or the state cannot be used; try again after the seconds in Retry-After.",
        "overloaded",
        "256 requests are in work; try again in a moment",
        None,
    ),
    504: (
        "It took too long. What was to be kept may have been.",
        "timed_out",
        "this took longer than 5 s",
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
