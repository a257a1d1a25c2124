"""Errors as OpenAPI describes them."""

from collections.abc import Mapping
from typing import Any

from service.errors import STATUS, RequestError
from service.schemas import ErrorBody

INTERNAL = "internal_error"
EXAMPLES: Mapping[str, tuple[str, str | None]] = {
    "invalid_parameter": ("k: must be at least 1, got '0'", "k"),
    "unknown_item": ("item_id: there is no such item", "item_id"),
    "unknown_user": ("user_id: there is no such user", "user_id"),
    "body_too_large": ("the body has more than 1000000 bytes", None),
    "bundle_refused": (
        "item_vectors.npy: its checksum is not the manifest's; the file was altered",
        None,
    ),
    "cursor_expired": ("cursor: has expired", "cursor"),
    "state_unavailable": ("the state did not answer in time", None),
    "unauthorized": ("the API key is not known", None),
    "forbidden": ("this needs a key with the scope write", None),
    "rate_limited": ("the key's requests come too often", None),
    "body_timeout": ("the body did not come within 5 s", None),
    "timed_out": ("this took longer than 5 s", None),
    "overloaded": ("256 requests are in work; try again in a moment", None),
    INTERNAL: ("internal error", None),
}
"""Message and field of an error of each code that endpoints answer."""
CLASSES: Mapping[str, type[RequestError]] = {error.code: error for error in STATUS}
REQUEST_ID = "4f1f0a9be2c3d845"


def error_responses(*codes: str) -> dict[int | str, dict[str, Any]]:
    """FastAPI's `responses` for the errors of these codes and for defects, with an example each."""
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
        return "A defect; the logs have it under the request id."
    return (CLASSES[code].__doc__ or "").partition("\n")[0]


def _example(code: str) -> dict[str, Any]:
    message, field = EXAMPLES[code]
    error = {"code": code, "message": message, "field": field, "request_id": REQUEST_ID}
    return {"error": error}
