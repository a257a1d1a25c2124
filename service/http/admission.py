"""Admission: requests above a limit wait before they are parsed, and are refused unparsed.

A refusal by the application costs four fifths of an answer, so that refusing half of the requests
would cost almost half of the answers. Here a request that has to wait costs what reading its bytes
does, a refusal what writing them does.
"""

import asyncio
from collections import deque
from typing import Any

from service.errors import OverloadedError
from service.http.error_handlers import error_body
from service.http.listener import ConnectionLimit
from service.http.middleware.request_context import new_request_id
from service.http.protocol import BoundedHttp
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
ENDPOINT = "unparsed"
"""Endpoint of refused requests in metrics."""


class Admission:
    """Limit of requests without a body that are in progress in a process.

    Args:
        limit: maximum number of requests in progress.
        max_wait: maximum time that a request waits for its turn, s; 0 refuses it at once.
        metrics: count refused requests.
    """

    def __init__(self, limit: int, max_wait: float, metrics: Metrics) -> None:
        self._limit = limit
        self._max_wait = max_wait
        self.metrics = metrics
        self._in_progress = 0
        self._waiting: deque[tuple[float, AdmittedHttp]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._message = f"{limit} requests are in progress; try again in a moment"

    def enter(self, connection: "AdmittedHttp") -> bool:
        """True if a connection's request may start; otherwise the connection is called later."""
        if self._in_progress < self._limit:
            self._in_progress += 1
            return True
        self.metrics.in_work(1)
        due = connection.loop.time() + self._max_wait
        self._waiting.append((due, connection))
        if self._timer is None:
            self._timer = connection.loop.call_at(due, self._refuse_late)
        return False

    def leave(self) -> None:
        """Give the place of a request to the one that has waited longest."""
        while self._waiting:
            _, connection = self._waiting.popleft()
            if connection.start():
                return
        self._in_progress -= 1

    def refusal(self, keeps: bool) -> bytes:
        """The bytes of a response with status 503.

        Args:
            keeps: whether the connection stays open.
        """
        self.metrics.shed.inc()
        self.metrics.observe_request(ENDPOINT, 503, self._max_wait)
        request_id = new_request_id()
        REQUEST_ID.set(request_id.decode())
        body = error_body(OverloadedError.code, self._message)
        connection = b"" if keeps else b"connection: close\r\n"
        return REFUSAL % {
            b"connection": connection,
            b"length": len(body),
            b"id": request_id,
            b"body": body,
        }

    def _refuse_late(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        while self._waiting:
            due, connection = self._waiting[0]
            if due > loop.time():
                self._timer = loop.call_at(due, self._refuse_late)
                return
            self._waiting.popleft()
            connection.refuse()


class AdmittedHttp(BoundedHttp):
    """A connection whose requests are admitted.

    A request is one that arrived in one piece, has no body and is alone; all others are left to
    `service.limiter`. Most requests are of this kind, and so is every one that is cheap.

    Args:
        limit: counts connections.
        options: as of `BoundedHttp`; the state of the application's lifespan has the `admission`.
    """

    def __init__(self, *, limit: ConnectionLimit, **options: Any) -> None:
        super().__init__(**options)
        self._limit = limit
        self._admission: Admission = self.app_state["admission"]
        self._request: bytes | None = None
        """A request that waits for its turn."""
        self._behind = b""
        """Received bytes behind it."""
        self._simple_headers = b""
        """The last headers that were found simple, with the end of the request line."""
        self._admitted = False
        """True while a request in progress has a place."""

    def data_received(self, data: bytes) -> None:
        """Handle received bytes: start a request, or let it wait."""
        if self._request is not None:
            # Reading goes on until then: to pause it takes four system calls a request.
            self._behind += data
            self.transport.pause_reading()
            return
        quiet = self._idle() and not (self._coming or self._refused or self.flow.held)
        if not (quiet and self._is_simple(data)):
            super().data_received(data)
        elif self._admission.enter(self):
            self._admitted = True
            super().data_received(data)
        else:
            self._request = data
            self._limit.wait(self)
            self._idle_since = None
            self._stop_waiting()

    def start(self) -> bool:
        """Start the waiting request; whether there is one."""
        request = self._take()
        if request is None:
            return False
        self._admitted = True
        super().data_received(request)
        self._receive_behind()
        return True

    def refuse(self) -> None:
        """Refuse the waiting request, if there is one."""
        request = self._take()
        if request is None:
            return
        keeps = b"connection:" not in request.lower() and b" HTTP/1.1\r" in request
        self.transport.write(self._admission.refusal(keeps))
        if not keeps:
            self.transport.close()
            return
        self._limit.rest(self, self.loop.time())
        self._rest()
        self._receive_behind()

    def close_idle(self) -> None:
        """Close the connection; it has no request."""
        self.transport.close()

    def on_headers_complete(self) -> None:
        """Start the request; the connection may have to end after it."""
        super().on_headers_complete()
        if not self._offered and self._limit.work(self):
            self.cycle.keep_alive = False

    def on_response_complete(self) -> None:
        """Give the place back."""
        self._leave()
        super().on_response_complete()
        if self._idle():
            self._limit.rest(self, self.loop.time())

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back, or stop waiting for one; make room for another connection."""
        self._limit.leave(self)
        self._take()
        self._leave()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Finish the request that waits, then close."""
        if self._request is not None:
            self.start()
        super().shutdown()

    def _take(self) -> bytes | None:
        """The waiting request, which no longer waits."""
        request, self._request = self._request, None
        if request is not None:
            self._admission.metrics.in_work(-1)
        return request

    def _receive_behind(self) -> None:
        """Handle the bytes that arrived while the request before them waited."""
        if self._behind:
            data, self._behind = self._behind, b""
            self.transport.resume_reading()
            self.data_received(data)

    def _leave(self) -> None:
        if self._admitted:
            self._admitted = False
            self._admission.leave()

    def _is_simple(self, data: bytes) -> bool:
        """True if received bytes are one whole request without a body that may have to wait."""
        if not data.startswith(b"GET ") or data.startswith(ALWAYS):
            return False
        headers = data[data.find(b"\r\n") :]
        if headers != self._simple_headers:
            lowered = headers.lower()
            if lowered.find(END) != len(lowered) - len(END) or any(map(lowered.count, FRAMING)):
                return False
            self._simple_headers = headers
        return True
