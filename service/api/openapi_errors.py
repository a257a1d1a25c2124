"""Descriptions and examples of error responses for the OpenAPI schema."""

from collections.abc import Mapping
from typing import Any

from service.errors import RequestError
from service.http.error_handlers import STATUS
from service.schemas.errors import ErrorBody

INTERNAL = "internal_error"
EXAMPLES: Mapping[str, tuple[str, str | None]] = {
    "invalid_parameter": ("k: must be at least 1, got '0'", "k"),
    "unknown_item": ("item_id: there is no such item", "item_id"),
    "unknown_user": ("user_id: there is no such user", "user_id"),
    "unknown_bundle": ("version: there is no '20260101T000000Z-00000000' in the store", "version"),
    "store_unavailable": ("the store cannot be read or written, or is locked", None),
    "body_too_large": ("the body has more than 1000000 bytes", None),
    "bundle_refused": (
        "20260314T091500Z-5f0c2a71: cannot be served (damaged); the log has the details",
        None,
    ),
    "cursor_expired": ("cursor: has expired", "cursor"),
    "state_unavailable": (
        "what the service stores could not be written or read; a write may have happened",
        None,
    ),
    "unauthorized": ("the API key is unknown", None),
    "forbidden": ("a key with the scope write is required", None),
    "rate_limited": ("the API key exceeded its rate", None),
    "malformed_request": ("Host: is missing", None),
    "head_too_large": ("the request line and headers have more than 65536 bytes", None),
    "head_timeout": ("the head did not arrive within 5 s", None),
    "unsupported_encoding": (
        "Content-Encoding: must be gzip, deflate or absent, not 'br'",
        None,
    ),
    "shutting_down": ("the service is shutting down", None),
    "body_timeout": ("the body did not arrive within 5 s", None),
    "timed_out": ("the request took longer than 5 s", None),
    "overloaded": ("256 requests are in progress; try again in a moment", None),
    INTERNAL: ("internal error", None),
}
"""Message and field of an example error, by code."""
CLASSES: Mapping[str, type[RequestError]] = {error.code: error for error in STATUS}
REQUEST_ID = "4f1f0a9be2c3d845"


def error_responses(*codes: str) -> dict[int | str, dict[str, Any]]:
    """The `responses` of an endpoint: errors by code, and defects, with an example each."""
    by_status: dict[int, list[str]] = {}
    for code in (*codes, INTERNAL):
        by_status.setdefault(STATUS[CLASSES[code]] if code in CLASSES else 500, []).append(code)
    return {status: _response(together) for status, together in by_status.items()}


def _response(codes: list[str]) -> dict[str, Any]:
    examples = {code: {"value": _example(code)} for code in codes}
    content = {"example": _example(codes[0])} if len(codes) == 1 else {"examples": examples}
    return {
        "model": ErrorBody,
        "description": " ".join(map(_description, codes)),
        "content": {"application/json": content},
    }


def _description(code: str) -> str:
    if code == INTERNAL:
        return "A defect; the logs have its details under the request id."
    return (CLASSES[code].__doc__ or "").partition("\n")[0]


def _example(code: str) -> dict[str, Any]:
    message, field = EXAMPLES[code]
    error = {"code": code, "message": message, "field": field, "request_id": REQUEST_ID}
    return {"error": error}
