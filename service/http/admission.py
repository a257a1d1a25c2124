"""Admission: requests above a limit wait before they are parsed, and are refused unparsed.

A refusal by the application costs four fifths of an answer, so that refusing half of the requests
would cost almost half of the answers. Here a request that has to wait costs what reading its bytes
does, a refusal what writing them does.
"""

from functools import lru_cache, partial
from typing import Any

from service.errors import OverloadedError
from service.http.error_handlers import error_body
from service.http.listener import ConnectionLimit
from service.http.middleware.request_context import new_request_id
from service.http.protocol import BoundedHttp
from service.limiter import HAS_PLACE, ConcurrencyLimiter
from service.observability.logs import REQUEST_ID
from service.observability.metrics import Metrics

END = b"\r\n\r\n"
ALWAYS = (b"GET /healthz", b"GET /readyz", b"GET /metrics", b"GET /admin")
"""Requests that are not limited: whoever watches the service must see that it is busy."""
FRAMING = (b"content-length:", b"transfer-encoding:", b"upgrade:")
"""Headers with which more than the head may follow."""
REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n"
    b"%(connection)bcontent-length: %(length)d\r\nx-request-id: %(id)b\r\n\r\n%(body)b"
)
VERSION = b" HTTP/1."
"""Beginning of the version in a request line, whose path has no blank."""
KEPT_HEADS = 256
"""Maximum number of heads that are kept."""
MAX_KEPT = 2048
"""Maximum size of a head that is kept, in bytes."""
ENDPOINT = "unparsed"
"""Endpoint of refused requests in metrics."""


class AdmittedHttp(BoundedHttp):
    """A connection whose requests are admitted.

    A request is one that arrived in one piece, has no body and is alone; all others enter the
    limiter after they are parsed. Most requests are of this kind, and so is every one that is
    cheap.

    Args:
        limit: counts connections.
        heads: of the process: heads, from the version on, that were found whole and good. Most
            clients send the same one again and again.
        options: as of `BoundedHttp`; the state of the application's lifespan has the process's
            `limiter` and `metrics`.
    """

    def __init__(
        self, *, limit: ConnectionLimit, heads: dict[bytes, bytes], **options: Any
    ) -> None:
        super().__init__(**options)
        self._limit = limit
        self._heads = heads
        self._limiter: ConcurrencyLimiter = self.app_state["limiter"]
        self._metrics: Metrics = self.app_state["metrics"]
        self._request: tuple[bytes, bytes] | None = None
        """A request that waits for its turn, and its head."""
        self._behind = b""
        """Received bytes behind it."""
        self._has_place = False
        """True while a request that is being parsed has a place."""

    def data_received(self, data: bytes) -> None:
        """Handle received bytes: start a request, or let it wait."""
        if self._request is not None:
            # Reading goes on until then: to pause it takes four system calls a request.
            self._behind += data
            self.transport.pause_reading()
            return
        quiet = self._idle() and not (self._coming or self._refused or self.flow.held)
        head = self._whole_head(data) if quiet else None
        if head is None:
            super().data_received(data)
        elif self._limiter.enter(self):
            self._receive_with_place(data, head)
        else:
            self._request = data, head
            self._metrics.in_work(1)
            self._limit.idle.pop(self, None)
            self._idle_since = None
            self._stop_waiting()

    def start(self) -> bool:
        """Start the waiting request, which has a place; whether there is one."""
        request = self._take()
        if request is None:
            return False
        self._receive_with_place(*request)
        self._receive_behind()
        return True

    def refuse(self) -> bool:
        """Refuse the waiting request; whether there is one."""
        request = self._take()
        if request is None:
            return False
        head = request[1]
        keeps = b"\r\nconnection:" not in head.lower() and head.startswith(b" HTTP/1.1\r")
        self.transport.write(self._refusal(keeps))
        if keeps:
            self._rest()
            self._receive_behind()
        else:
            self.transport.close()
        return True

    def close_idle(self) -> None:
        """Close the connection; it has no request."""
        self.transport.close()

    def on_headers_complete(self) -> None:
        """Start the request; the connection may have to end after it."""
        super().on_headers_complete()
        if self._offered:
            return
        self._limit.idle.pop(self, None)
        if self._limit.others_wait and self._limit.is_to_end():
            self.cycle.keep_alive = False

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting for a turn; make room for another connection."""
        self._limit.leave(self)
        self._take()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Finish the request that waits, then close."""
        request = self._take()
        if request is not None:
            super().data_received(request[0])  # it enters the limiter again
        super().shutdown()

    def pause_writing(self) -> None:
        """Start to wait for a client that reads slowly, without a place."""
        super().pause_writing()
        self._give_back(self._running)

    def _rest(self) -> None:
        super()._rest()
        self._limit.idle[self] = self.loop.time()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        if self._has_place:
            self._has_place, cycle.has_place = False, True
            app = partial(self._in_place, cycle, app)
        super()._start_asgi_task(cycle, app)

    async def _in_place(self, cycle: Any, app: Any, scope: Any, receive: Any, send: Any) -> None:
        """Call the application, then give the place back: the client may leave before that."""
        scope[HAS_PLACE] = True
        try:
            await app(scope, receive, send)
        finally:
            self._give_back(cycle)

    def _give_back(self, cycle: Any) -> None:
        if getattr(cycle, "has_place", False):
            cycle.has_place = False
            self._limiter.leave()

    def _receive_with_place(self, data: bytes, head: bytes) -> None:
        self._has_place = True
        self._head_is_good = head in self._heads
        super().data_received(data)
        if self._has_place:  # no request was found in it
            self._has_place = False
            self._limiter.leave()
        elif not (self._head_is_good or self._refused or len(head) > MAX_KEPT):
            if len(self._heads) == KEPT_HEADS:
                self._heads.clear()
            self._heads[head] = head
        self._head_is_good = False

    def _take(self) -> tuple[bytes, bytes] | None:
        """The waiting request, which no longer waits, and its head."""
        request, self._request = self._request, None
        if request is not None:
            self._metrics.in_work(-1)
        return request

    def _receive_behind(self) -> None:
        """Handle the bytes that arrived while the request before them waited."""
        if self._behind:
            data, self._behind = self._behind, b""
            self.transport.resume_reading()
            self.data_received(data)

    def _refusal(self, keeps: bool) -> bytes:
        """The bytes of a response with status 503.

        Args:
            keeps: whether the connection stays open.
        """
        self._metrics.observe_request(ENDPOINT, 503, self._limiter.max_wait)
        return new_request_id().join(_around_ids(self._limiter.message, keeps))

    def _whole_head(self, data: bytes) -> bytes | None:
        """The head of one whole request without a body that may have to wait, from the version on.

        None if the received bytes are something else.
        """
        if not data.startswith(b"GET ") or data.startswith(ALWAYS):
            return None
        head = data[data.find(VERSION) :]
        found = self._heads.get(head)
        if found is None:
            lowered = head.lower()
            if lowered.find(END) != len(lowered) - len(END) or any(map(lowered.count, FRAMING)):
                return None
        return found or head


@lru_cache
def _around_ids(message: str, keeps: bool) -> list[bytes]:
    """Bytes of a refusal before, between and behind the request ids."""
    request_id = new_request_id()
    REQUEST_ID.set(request_id.decode())
    body = error_body(OverloadedError.code, message)
    refusal = REFUSAL % {
        b"connection": b"" if keeps else b"connection: close\r\n",
        b"length": len(body),
        b"id": request_id,
        b"body": body,
    }
    return refusal.split(request_id)
