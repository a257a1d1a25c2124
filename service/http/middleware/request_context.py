"""Request context: the request id, metrics and log of every request, and 500 for defects."""

import asyncio
import re
from random import Random
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import ShuttingDownError
from service.http.error_handlers import REFUSAL, error_response, internal_error
from service.http.middleware.authentication import KEY_NAME
from service.observability.logs import LOGGER, REQUEST_ID
from service.observability.metrics import Metrics
from service.redaction import PREFIX

REQUEST_ID_HEADER = b"x-request-id"
RANDOM = Random()
"""Source of request ids, which are no secrets; the system's random source takes 1 µs longer."""
SANE_REQUEST_ID = re.compile(rb"(?!.*%b)[A-Za-z0-9._:+/=@-]{1,128}" % PREFIX.encode())
"""Ids that are safe in a header and in a log line; others, such as API keys, are replaced."""


class RequestContext:
    """ASGI middleware: request ids, metrics, and the errors that no other layer answers.

    These are 500 for defects, what the protocol refuses, and 503 for what a shutdown breaks off.

    It is plain ASGI, because Starlette's BaseHTTPMiddleware costs a task and a stream per request.

    Args:
        app: the next layer.
        metrics: counts and times requests.
        log_requests: whether to log each request.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, log_requests: bool) -> None:
        self._app = app
        self._metrics = metrics
        self._log_requests = log_requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; other kinds of scope are passed on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        REQUEST_ID.set(request_id.decode())
        status, complete = 0, False
        started = perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status, complete
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (REQUEST_ID_HEADER, request_id)]
            else:
                complete = not message.get("more_body")
            await send(message)

        self._metrics.in_work(1)
        app = error_response(scope[REFUSAL]) if REFUSAL in scope else self._app
        try:
            await app(scope, receive, send_with_id)
        except asyncio.CancelledError:  # by uvicorn, when draining took too long
            if status:
                raise
            await error_response(ShuttingDownError("the service is shutting down"))(
                scope, receive, send_with_id
            )
        except Exception:
            LOGGER.exception("request_failed", endpoint=_endpoint(scope), key=scope.get(KEY_NAME))
            if not status:
                await internal_error()(scope, receive, send_with_id)
            elif not complete:  # breaking the response off is the only way to report the error
                raise
        finally:
            self._metrics.in_work(-1)
            seconds = perf_counter() - started
            endpoint = _endpoint(scope)
            # A cancelled request has no status; 499 is the customary number.
            self._metrics.observe_request(endpoint, status or 499, seconds)
            if self._log_requests:
                LOGGER.debug(
                    "request",
                    endpoint=endpoint,
                    status=status,
                    seconds=seconds,
                    key=scope.get(KEY_NAME),
                )


def _request_id(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name == REQUEST_ID_HEADER and SANE_REQUEST_ID.fullmatch(value):
            return bytes(value)
    return new_request_id()


def new_request_id() -> bytes:
    """Request id of 16 hexadecimal digits."""
    return b"%016x" % RANDOM.getrandbits(64)


def _endpoint(scope: Scope) -> str:
    # A label for each unknown path would let scanners create any number of time series.
    return getattr(scope.get("route"), "path_format", "unmatched")
