"""Errors of requests that a client can act on.

DRepMRecError                      (bundle.errors)
└── RequestError
    ├── InvalidParameterError    a parameter is missing, malformed or out of range
    ├── UnknownItemError         there is no such item
    ├── UnknownUserError         there is no such user
    ├── UnknownBundleError       the store has no such bundle
    ├── UnknownPathError         there is no such endpoint
    ├── MethodNotAllowedError    the endpoint has other methods
    ├── BodyTooLargeError        the body is longer than the service accepts
    ├── BundleRefusedError       the store's live bundle cannot be served
    ├── CursorExpiredError       the cursor's ranking is no longer kept
    ├── StateUnavailableError    events or changes may not have been stored; try again
    ├── StoreUnavailableError    the store cannot be used; try again
    ├── UnauthorizedError        an API key is required, and there is none or an unknown one
    ├── ForbiddenError           the key lacks the scope
    ├── RateLimitedError         the key exceeded its rate; try again later
    ├── MalformedRequestError    the request is not valid HTTP
    ├── HeadTooLargeError        its line and headers are too long
    ├── HeadTimeoutError         they did not arrive in time
    ├── UnsupportedEncodingError the body is compressed in a way that the service does not know
    ├── ShuttingDownError        the service ends before the work is done; try again
    ├── BodyTimeoutError         the body did not arrive in time
    ├── TimedOutError            the work did not finish in time
    └── OverloadedError          too many requests are in progress; try again

`service.http.error_handlers` has their statuses and makes responses of them. Everything else is a
defect: it is logged with the request id, and the client gets no details.
"""

from typing import ClassVar

from bundle.errors import DRepMRecError

SHOWN = 60
"""Maximum number of characters of a wrong value that an error repeats."""


class RequestError(DRepMRecError):
    """A request that cannot be answered as it is.

    Attributes:
        code: machine-readable kind of the error.
        field: name of the parameter that is wrong, if one is.
        retry_after: seconds after which the same request may succeed, if that can be told.
    """

    code: ClassVar[str]
    retry_after: int | None = None

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


class UnknownBundleError(RequestError):
    """The store has no such bundle, or no report on it."""

    code = "unknown_bundle"

    def __init__(self, version: str) -> None:
        super().__init__(f"version: there is no {version[:SHOWN]!r} in the store", "version")


class UnknownPathError(RequestError):
    """There is no such endpoint."""

    code = "unknown_path"


class MethodNotAllowedError(RequestError):
    """The endpoint has other methods.

    Args:
        method: of the request.
        allowed: methods of the endpoint, separated by commas.
    """

    code = "method_not_allowed"

    def __init__(self, method: str, allowed: str) -> None:
        super().__init__(f"{method} is not allowed here, only {allowed}")
        self.allowed = allowed


class BodyTooLargeError(RequestError):
    """The body is longer than the service accepts."""

    code = "body_too_large"


class BundleRefusedError(RequestError):
    """The store's live bundle cannot be served; the previous one still is."""

    code = "bundle_refused"


class CursorExpiredError(RequestError):
    """The ranking that a cursor pages through is no longer kept."""

    code = "cursor_expired"


class StateUnavailableError(RequestError):
    """Events or changes could not be stored or read."""

    code = "state_unavailable"
    retry_after = 1


class OverloadedError(RequestError):
    """Too many requests are in progress, and this one's turn did not come in time."""

    code = "overloaded"
    retry_after = 1


class StoreUnavailableError(RequestError):
    """The store cannot be read or written, or somebody else is publishing."""

    code = "store_unavailable"
    retry_after = 5


class UnauthorizedError(RequestError):
    """An API key is required, and there is none or an unknown one."""

    code = "unauthorized"


class ForbiddenError(RequestError):
    """The key lacks the scope."""

    code = "forbidden"


class RateLimitedError(RequestError):
    """The API key exceeded its rate; retry after `Retry-After` seconds."""

    code = "rate_limited"

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class MalformedRequestError(RequestError):
    """The request is not valid HTTP; the connection is closed."""

    code = "malformed_request"


class HeadTooLargeError(RequestError):
    """The request line and headers are too long; the connection is closed."""

    code = "head_too_large"


class HeadTimeoutError(RequestError):
    """The request line and headers did not arrive in time; the connection is closed."""

    code = "head_timeout"


class UnsupportedEncodingError(RequestError):
    """The body has a `Content-Encoding` that the service does not know."""

    code = "unsupported_encoding"


class ShuttingDownError(RequestError):
    """The service ends before the work is done; another replica can do it."""

    code = "shutting_down"
    retry_after = 1


class BodyTimeoutError(RequestError):
    """The body did not arrive in time; the connection is closed."""

    code = "body_timeout"


class TimedOutError(RequestError):
    """The work did not finish in time."""

    code = "timed_out"
