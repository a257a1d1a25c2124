"""What happens around every request: an id, the clock, the last resort for defects."""

import re
from random import Random
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.access import KEY_NAME
from service.errors import error_body
from service.key_text import PREFIX
from service.logs import LOGGER, REQUEST_ID
from service.metrics import Metrics

REQUEST_ID_HEADER = b"x-request-id"
RANDOM = Random()
"""Ids tell requests apart and are no secrets: asking the system for chance takes 1 µs more."""
SANE_REQUEST_ID = re.compile(rb"(?!.*%b)[A-Za-z0-9._:+/=@-]{1,128}" % PREFIX.encode())
"""Ids that are safe in a header and in a log line; others are replaced, API keys for one."""


class RequestScope:
    """ASGI middleware: request ids, metrics, and 500 in the one JSON shape.

    It is plain ASGI, as Starlette's BaseHTTPMiddleware costs a task and a stream for each request.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, log_requests: bool) -> None:
        self._app = app
        self._metrics = metrics
        self._log_requests = log_requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; other kinds of scope pass."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        REQUEST_ID.set(request_id.decode())
        status = 0
        started = perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (REQUEST_ID_HEADER, request_id)]
            await send(message)

        self._metrics.in_work(1)
        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            LOGGER.exception("request_failed", endpoint=_endpoint(scope), key=scope.get(KEY_NAME))
            if status:  # the client has the beginning of an answer: only breaking it off is honest
                raise
            await _send_internal_error(send_with_id)
        finally:
            self._metrics.in_work(-1)
            seconds = perf_counter() - started
            endpoint = _endpoint(scope)
            # A request that was cancelled has no status; 499 is what others call that.
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
    return b"%016x" % RANDOM.getrandbits(64)


def _endpoint(scope: Scope) -> str:
    # Paths that match nothing would make a label for each thing that scanners try.
    return getattr(scope.get("route"), "path_format", "unmatched")


async def _send_internal_error(send: Send) -> None:
    body = error_body("internal_error", "internal error")
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
    ]
    await send({"type": "http.response.start", "status": 500, "headers": headers})
    await send({"type": "http.response.body", "body": body})
