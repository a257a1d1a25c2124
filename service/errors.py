"""Errors that a client can act on, and the one place that makes responses of them.

DRepMRecError                      (bundle.errors)
└── RequestError
    ├── InvalidParameterError    422    a parameter is missing, malformed or out of range
    ├── UnknownItemError         404    there is no such item
    ├── UnknownUserError         404    there is no such user
    ├── UnknownPathError         404    there is no such endpoint
    ├── MethodNotAllowedError    405    the endpoint has other methods
    ├── BodyTooLargeError        413    the body has more bytes than the service reads
    ├── BundleRefusedError       409    the store's live bundle cannot be served
    ├── CursorExpiredError       410    the cursor's ranking is not kept any more
    ├── StateUnavailableError    503    what was to be kept may not have been; try again
    ├── UnauthorizedError        401    an API key is needed, and there is none or an unknown one
    ├── ForbiddenError           403    the key lacks the scope
    ├── RateLimitedError         429    the key's requests come too often
    ├── BodyTimeoutError         408    the body did not come in time
    ├── TimedOutError            504    the work was not done in time
    └── OverloadedError          503    all permits are taken; try again

Everything else is a defect: 500, logged with the request id, without details for the client.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

from bundle.errors import DRepMRecError
from service.key_text import without_keys
from service.logs import REQUEST_ID

LONGEST_FIELD = 200
"""Characters of a field's name in an error: names of parameters that there are not may be long."""
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
    """There is no such item."""

    code = "unknown_item"


class UnknownUserError(RequestError):
    """There is no such user."""

    code = "unknown_user"


class UnknownPathError(RequestError):
    """There is no such endpoint."""

    code = "unknown_path"


class MethodNotAllowedError(RequestError):
    """The endpoint has other methods."""

    code = "method_not_allowed"


class BodyTooLargeError(RequestError):
    """The body has more bytes than the service reads."""

    code = "body_too_large"


class BundleRefusedError(RequestError):
    """The store's live bundle cannot be served; the one before still is."""

    code = "bundle_refused"


class CursorExpiredError(RequestError):
    """The ranking that a cursor pages through is not kept any more."""

    code = "cursor_expired"


class StateUnavailableError(RequestError):
    """Events or changes could not be kept or read."""

    code = "state_unavailable"
    headers: Mapping[str, str] = {"Retry-After": "1"}


class OverloadedError(RequestError):
    """All permits are taken."""

    code = "overloaded"
    headers: Mapping[str, str] = {"Retry-After": "1"}


class UnauthorizedError(RequestError):
    """An API key is needed, and there is none or an unknown one."""

    code = "unauthorized"
    headers: Mapping[str, str] = {"WWW-Authenticate": 'Bearer realm="drepmrec"'}


class ForbiddenError(RequestError):
    """The key lacks the scope."""

    code = "forbidden"


class RateLimitedError(RequestError):
    """The key's requests come too often; after so many seconds there is room for one."""

    code = "rate_limited"

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.headers = {"Retry-After": str(retry_after)}


class BodyTimeoutError(RequestError):
    """The body did not come in time; the rest of it is not waited for."""

    code = "body_timeout"
    headers: Mapping[str, str] = {"Connection": "close"}


class TimedOutError(RequestError):
    """The work was not done in time."""

    code = "timed_out"


STATUS: Mapping[type[RequestError], int] = {
    InvalidParameterError: 422,
    UnknownItemError: 404,
    UnknownUserError: 404,
    UnknownPathError: 404,
    MethodNotAllowedError: 405,
    BodyTooLargeError: 413,
    BundleRefusedError: 409,
    CursorExpiredError: 410,
    StateUnavailableError: 503,
    UnauthorizedError: 401,
    ForbiddenError: 403,
    RateLimitedError: 429,
    BodyTimeoutError: 408,
    TimedOutError: 504,
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
    """The JSON of an error, with the id of the request in work and without API keys."""
    error = {"code": code, "message": message, "field": field, "request_id": REQUEST_ID.get()}
    try:
        body = orjson.dumps({"error": error})
    except TypeError:  # JSON may name half of a surrogate pair, which no UTF-8 can repeat
        shown = {name: value and ascii(value)[1:-1] for name, value in error.items()}
        body = orjson.dumps({"error": shown})
    return without_keys(body.decode()).encode()


def invalid_parameter(errors: Sequence[Any]) -> InvalidParameterError:
    """The first of pydantic's errors, in words like `k: must be at least 1, got '0'`."""
    first = errors[0]
    if first["type"] == "json_invalid":
        return InvalidParameterError(f"the body is no JSON: {first['ctx']['error']}")
    if first["loc"] == ("body",) and first["type"] != "missing":
        reason = "must be a JSON object, sent as application/json"
        return InvalidParameterError(f"body: {reason}", "body")
    location = [str(part) for part in first["loc"]]
    field = ".".join(location[1:] if len(location) > 1 else location)[:LONGEST_FIELD]
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
            allowed = _allowed(request, (error.headers or {}).get("Allow", ""))
            known = MethodNotAllowedError(f"{request.method} is not possible here, only {allowed}")
            known.headers = {"Allow": allowed}
            return known
        case HTTPException(status_code=400):  # no UTF-8, or nested too deep to be read
            return InvalidParameterError("the body cannot be read")
        case HTTPException(status_code=413):
            return BodyTooLargeError(error.detail)
        case HTTPException():
            return error
        case _:
            raise error


def _allowed(request: Request, first: str) -> str:
    """Methods of all routes with the request's path; Starlette names those of the first one."""
    methods = set(first.split(", "))
    for route in request.app.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            methods |= route.methods or set()
    return ", ".join(sorted(methods))


def error_response(error: RequestError | HTTPException) -> Response:
    """The response that says what is wrong."""
    if isinstance(error, HTTPException):
        status, body = error.status_code, error_body("http_error", error.detail)
    else:
        status, body = STATUS[type(error)], error_body(error.code, str(error), error.field)
    headers = dict(error.headers) if error.headers else None
    return Response(body, status, headers, media_type="application/json")


async def _answer_error(request: Request, error: Exception) -> Response:
    return error_response(_translate(error, request))


def handle_errors(app: FastAPI) -> None:
    """Answer every error of the tree, and those of the framework, in the one JSON shape."""
    for kind in (RequestError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _answer_error)
