"""Error responses: the one place that turns errors into HTTP statuses, headers and JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

from service.errors import (
    BodyTimeoutError,
    BodyTooLargeError,
    BundleRefusedError,
    CursorExpiredError,
    ForbiddenError,
    HeadTimeoutError,
    HeadTooLargeError,
    InvalidParameterError,
    MalformedRequestError,
    MethodNotAllowedError,
    OverloadedError,
    RateLimitedError,
    RequestError,
    ShuttingDownError,
    StateUnavailableError,
    StoreUnavailableError,
    TimedOutError,
    UnauthorizedError,
    UnknownBundleError,
    UnknownItemError,
    UnknownPathError,
    UnknownUserError,
    UnsupportedEncodingError,
)
from service.observability.logs import REQUEST_ID
from service.redaction import without_keys

STATUS: Mapping[type[RequestError], int] = {
    InvalidParameterError: 422,
    UnknownItemError: 404,
    UnknownUserError: 404,
    UnknownBundleError: 404,
    UnknownPathError: 404,
    MethodNotAllowedError: 405,
    BodyTooLargeError: 413,
    BundleRefusedError: 409,
    CursorExpiredError: 410,
    StateUnavailableError: 503,
    StoreUnavailableError: 503,
    UnauthorizedError: 401,
    ForbiddenError: 403,
    RateLimitedError: 429,
    MalformedRequestError: 400,
    HeadTooLargeError: 431,
    HeadTimeoutError: 408,
    UnsupportedEncodingError: 415,
    ShuttingDownError: 503,
    BodyTimeoutError: 408,
    TimedOutError: 504,
    OverloadedError: 503,
}
"""HTTP status of each error."""
REFUSAL = "drepmrec.refusal"
"""ASGI scope entry that holds the error of a request that the protocol could not read, if any."""
JSON = "application/json"
LONGEST_FIELD = 200
"""Maximum number of characters of a field's name in an error: clients may send any name."""
SHOWN_INPUT = 60
"""Maximum number of characters of a wrong value that its error message repeats."""

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
"""Messages for pydantic's error types; other types keep pydantic's text."""


class BodyError(HTTPException):
    """An error of a body, raised where it is read: FastAPI passes on only HTTPExceptions there.

    Args:
        error: the error.
    """

    def __init__(self, error: RequestError) -> None:
        super().__init__(STATUS[type(error)])
        self.error = error


def error_body(code: str, message: str, field: str | None = None) -> bytes:
    """The JSON of an error, with the current request's id and without API keys."""
    error = {"code": code, "message": message, "field": field, "request_id": REQUEST_ID.get()}
    try:
        body = orjson.dumps({"error": error})
    except TypeError:  # a name in JSON may contain half of a surrogate pair, which UTF-8 cannot
        shown = {name: value and ascii(value)[1:-1] for name, value in error.items()}
        body = orjson.dumps({"error": shown})
    return without_keys(body.decode()).encode()


def invalid_parameter(errors: Sequence[Any]) -> InvalidParameterError:
    """The first of pydantic's errors, as a message like `k: must be at least 1, got '0'`."""
    first = errors[0]
    if first["type"] == "json_invalid":
        return InvalidParameterError(f"the body is not valid JSON: {first['ctx']['error']}")
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


def error_response(error: RequestError | HTTPException) -> Response:
    """The response for an error."""
    if isinstance(error, HTTPException):
        status, body = error.status_code, error_body("http_error", error.detail)
        headers = dict(error.headers or {})
    else:
        status, body = STATUS[type(error)], error_body(error.code, str(error), error.field)
        headers = _headers(error)
    return Response(body, status, headers, media_type=JSON)


def internal_error() -> Response:
    """The response for a defect, without details."""
    return Response(error_body("internal_error", "internal error"), 500, media_type=JSON)


def handle_errors(app: FastAPI) -> None:
    """Answer all errors of requests, and those of the framework, in the same JSON shape."""
    app.add_exception_handler(Exception, _answer_defect)
    for kind in (RequestError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _answer_error)


async def _answer_defect(_: Request, __: Exception) -> Response:
    return internal_error()


async def _answer_error(request: Request, error: Exception) -> Response:
    return error_response(_translate(error, request))


def _headers(error: RequestError) -> dict[str, str]:
    match error:
        case UnauthorizedError():
            return {"WWW-Authenticate": 'Bearer realm="drepmrec"'}
        case MethodNotAllowedError():
            return {"Allow": error.allowed}
        case UnsupportedEncodingError():
            return {"Accept-Encoding": "gzip, deflate"}
        case (
            BodyTimeoutError() | HeadTimeoutError() | HeadTooLargeError() | MalformedRequestError()
        ):
            return {"Connection": "close"}
    return {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}


def _translate(error: Exception, request: Request) -> RequestError | HTTPException:
    match error:
        case RequestError():
            return error
        case RequestValidationError():
            return invalid_parameter(error.errors())
        case BodyError():
            return error.error
        case HTTPException(status_code=404):
            return UnknownPathError("there is nothing at this path")
        case HTTPException(status_code=405):
            return MethodNotAllowedError(request.method, _allowed(request))
        case HTTPException(status_code=400):  # not UTF-8, or nested too deeply
            return InvalidParameterError("the body cannot be read")
        case HTTPException():
            return error
        case _:
            raise error


def _allowed(request: Request) -> str:
    """Methods of all registered routes with the request's path."""
    methods: set[str] = set()
    for route in request.app.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            methods |= route.methods or set()
    return ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))
