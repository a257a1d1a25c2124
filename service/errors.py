"""Errors that a client can act on, and the one place that makes responses of them.

DRepMRecError                      (bundle.errors)
└── RequestError
    ├── InvalidParameterError    422    a parameter is missing, malformed or out of range
    ├── UnknownItemError         404    the bundle has no such item
    ├── UnknownPathError         404    there is no such endpoint
    ├── MethodNotAllowedError    405    the endpoint has other methods
    ├── BodyTooLargeError        413    the body has more bytes than the service reads
    └── OverloadedError          503    all permits are taken; try again

Everything else is a defect: 500, logged with the request id, without details for the client.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from bundle.errors import DRepMRecError
from service.logs import REQUEST_ID

SHOWN_INPUT = 60
"""Characters of a wrong value that its error message repeats."""


class RequestError(DRepMRecError):
    """A request that cannot be answered as it is.

    Attributes:
        code: what went wrong, for programs.
        field: the parameter that is to blame, if one is.
        headers: to send with the response.
    """

    code: ClassVar[str]
    headers: Mapping[str, str] | None = None

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class InvalidParameterError(RequestError):
    """A parameter is missing, malformed or out of range."""

    code = "invalid_parameter"


class UnknownItemError(RequestError):
    """The bundle has no such item."""

    code = "unknown_item"


class UnknownPathError(RequestError):
    """There is no such endpoint."""

    code = "unknown_path"


class MethodNotAllowedError(RequestError):
    """The endpoint has other methods."""

    code = "method_not_allowed"


class BodyTooLargeError(RequestError):
    """The body has more bytes than the service reads."""

    code = "body_too_large"


class OverloadedError(RequestError):
    """All permits are taken."""

    code = "overloaded"
    headers: Mapping[str, str] = {"Retry-After": "1"}


STATUS: Mapping[type[RequestError], int] = {
    InvalidParameterError: 422,
    UnknownItemError: 404,
    UnknownPathError: 404,
    MethodNotAllowedError: 405,
    BodyTooLargeError: 413,
    OverloadedError: 503,
}

MESSAGES: Mapping[str, str] = {
    "missing": "is required",
    "extra_forbidden": "is not a parameter of this endpoint",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number of reasonable size",
    "bool_parsing": "must be true or false",
    "finite_number": "must be a finite number",
    "greater_than": "must be greater than {gt}",
    "too_long": "must have at most {max_length} entries",
    "too_short": "must have at least {min_length} entries",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must not be empty",
}
"""What pydantic's error types mean for a caller; others keep pydantic's words."""


def error_body(code: str, message: str, field: str | None = None) -> bytes:
    """The JSON of an error, with the id of the request in work."""
    error = {"code": code, "message": message, "field": field, "request_id": REQUEST_ID.get()}
    return orjson.dumps({"error": error})


def invalid_parameter(errors: Sequence[Any]) -> InvalidParameterError:
    """The first of pydantic's errors, in words like `k: must be at least 1, got '0'`."""
    first = errors[0]
    if first["type"] == "json_invalid":
        return InvalidParameterError(f"the body is no JSON: {first['ctx']['error']}")
    location = [str(part) for part in first["loc"]]
    field = ".".join(location[1:] if len(location) > 1 else location)
    template = MESSAGES.get(first["type"])
    reason = template.format(**first.get("ctx", {})) if template else first["msg"]
    if first["type"] not in ("missing", "extra_forbidden"):
        given = str(first["input"])
        reason += f", got {given[:SHOWN_INPUT]!r}" + ("…" if len(given) > SHOWN_INPUT else "")
    return InvalidParameterError(f"{field}: {reason}", field)


def _translate(error: Exception, request: Request) -> RequestError | HTTPException:
    match error:
        case RequestError():
            return error
        case RequestValidationError():
            return invalid_parameter(error.errors())
        case HTTPException(status_code=404):
            return UnknownPathError("there is nothing at this path")
        case HTTPException(status_code=405):
            allowed = (error.headers or {}).get("Allow", "GET")
            known = MethodNotAllowedError(f"{request.method} is not possible here, only {allowed}")
            known.headers = {"Allow": allowed}
            return known
        case HTTPException(status_code=413):
            return BodyTooLargeError(error.detail)
        case HTTPException():
            return error
        case _:
            raise error


async def _answer_error(request: Request, error: Exception) -> Response:
    known = _translate(error, request)
    if isinstance(known, HTTPException):
        status, body = known.status_code, error_body("http_error", known.detail)
    else:
        status, body = STATUS[type(known)], error_body(known.code, str(known), known.field)
    headers = dict(known.headers) if known.headers else None
    return Response(body, status, headers, media_type="application/json")


def handle_errors(app: FastAPI) -> None:
    """Answer every error of the tree, and those of the framework, in the one JSON shape."""
    for kind in (RequestError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _answer_error)
