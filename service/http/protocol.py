"""HTTP protocol: uvicorn's, with limits to what a client can leave open, and its errors in JSON.

uvicorn limits the time of connections that are idle after a request. It does not limit those that
never send one, send it a byte at a time or do not read the response, nor the size of a head, nor
the number of requests that wait behind another. It takes an offer to upgrade for an upgrade and
loses the body, or takes it for a request.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.errors import (
    HeadTimeoutError,
    HeadTooLargeError,
    MalformedRequestError,
    RequestError,
)
from service.http.error_handlers import REFUSAL
from service.http.head import MAX_HEAD, check_head, head_size, without_offer
from service.http.response_writer import ResponseWriter
from service.http.unread import ReaderWatch, UnreadResponses

PIECE = 4096
"""Maximum number of bytes that are parsed at once. After it the requests that wait are looked at,
and so at most those of one piece wait, about 200 of the shortest."""
STAND_IN = b"%b / HTTP/1.1\r\nHost: refused\r\nConnection: close\r\n\r\n"
"""The request whose response is that to a request which cannot be read."""


class HeldFlow(FlowControl):
    """Flow control that does not resume reading while received bytes are held.

    Attributes:
        held: received bytes that are not parsed yet.
    """

    held = b""

    def resume_reading(self) -> None:
        """Resume reading, unless bytes are held."""
        if not self.held:
            super().resume_reading()


class BoundedHttp(HttpToolsProtocol):
    """A connection with limits.

    If a request does not arrive completely in time and the application waits for its body, the
    application answers (`service.http.middleware.timeout`). A head that does not, or that cannot be
    read, gets the response that `service.http.middleware.request_context` makes of `REFUSAL`, after
    the responses to the requests before it. Then the connection is closed.

    Args:
        seconds: time for a request to arrive completely, and interval in which the rate of a client
            that reads its response is checked.
        unread: total of the responses that clients of this worker have not read.
        options: as of uvicorn's protocol.
    """

    flow: HeldFlow
    _reader: ReaderWatch

    def __init__(self, *, seconds: float, unread: UnreadResponses, **options: Any) -> None:
        super().__init__(**options)
        self._seconds = seconds
        self._unread = unread
        self._to_come: asyncio.TimerHandle | None = None
        self._coming = False
        """True while a request has started and is incomplete."""
        self._in_head = False
        """True while its head is incomplete."""
        self._head = 0
        """Number of its bytes so far, without those of the piece in which it began."""
        self._piece = 0
        """Number of bytes that are being parsed."""
        self._offered = False
        """True if the head that is being parsed offers an upgrade."""
        self._refused = False
        """True if the connection ends with a refusal; what comes after it is not read."""
        self._head_is_good = False
        """True if the head that is being parsed has passed `check_head` before."""
        self._idle_since: float | None = None
        """Time since which the client may send nothing, on the loop's clock; None otherwise."""
        self._running: Any = None
        """The cycle that is executed; `self.cycle` is the one that was received last."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to wait for a request."""
        super().connection_made(transport)
        self.flow = HeldFlow(transport)
        self._reader = ReaderWatch(transport, self.loop, self._seconds, self._unread)
        self._await_message()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers; tell the request in progress."""
        self._stop_waiting()
        self._unset_keepalive_if_required()
        self.resume_writing()
        if self._running is not None:
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Handle received bytes; hold those that follow requests that wait."""
        if self._refused:
            return
        if self.flow.held:
            self.flow.held += data
            return
        self._idle_since = None
        for start in range(0, len(data), PIECE):
            if self.pipeline:
                self.flow.held = data[start:]
                break
            self._parse(data[start : start + PIECE])
            if self._refused:
                return
        # uvicorn's own timeout ends with the first byte, which may be an empty line. A request that
        # arrives in one chunk, as most do, needs no timer.
        if self._to_come is None and self._idle_since is None and (self._coming or self._idle()):
            self._await_message()

    def on_message_begin(self) -> None:
        """Note the start of a request."""
        super().on_message_begin()
        self._coming = self._in_head = True
        self._head = -self._piece
        self._stop_waiting()

    def on_headers_complete(self) -> None:
        """Check the head, then start the request."""
        parser = self.parser
        if self._head + self._piece + PIECE > MAX_HEAD:
            self._check_size(head_size(parser.get_method(), self.url, self.headers))
        if parser.should_upgrade():
            self._offered = True
            return
        if not self._head_is_good:
            check_head(parser.get_http_version(), self.headers)
        super().on_headers_complete()
        self._in_head = False

    def on_message_complete(self) -> None:
        """Note the end of the request."""
        if self._offered:  # the parser is about to stop before the body
            return
        self._coming = False
        self._stop_waiting()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Start the next request; parse what was held. Without either, the client may rest.

        uvicorn's makes and cancels a timer for each response, which takes 2 µs of 80.
        """
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self._reader.start()
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._rest()
            if not self._coming:
                # Memory that is freed now is in the core's cache, and serves the next request.
                self.cycle = self.scope = self.headers = self._running = None  # type: ignore[assignment]
        if self.flow.held and not self.pipeline:  # the rest of the last request may be among them
            data, self.flow.held = self.flow.held, b""
            self.flow.resume_reading()
            self.data_received(data)

    def pause_writing(self) -> None:
        """Start to wait for a client that reads slowly."""
        super().pause_writing()
        self._reader.start()

    def resume_writing(self) -> None:
        """Stop waiting: the client read."""
        self._reader.stop()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection if it is idle for long; the client has to read what it has not."""
        self.timeout_keep_alive_task = None
        if self._idle_since is None:
            return
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:  # requests came after the timer was made
            self._call_when_idle(left)
            return
        super().timeout_keep_alive_handler()
        self._reader.start()

    def _rest(self) -> None:
        """Start the time for which the client may send nothing."""
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._call_when_idle(self.timeout_keep_alive)

    def _call_when_idle(self, delay: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(delay, self.timeout_keep_alive_handler)

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._running = cycle
        if cycle.scope["method"] != "HEAD":  # the head of its response waits for no body
            cycle.transport = ResponseWriter(self.transport)
        super()._start_asgi_task(cycle, self._after_reading(app) if self.flow.write_paused else app)

    def _after_reading(self, app: Any) -> Callable[..., Awaitable[None]]:
        """The application, called when the client has read the response before."""

        async def wait_and_call(scope: Any, receive: Any, send: Any) -> None:
            await self.flow.drain()
            if not self.transport.is_closing():
                await app(scope, receive, send)

        return wait_and_call

    def _parse(self, data: bytes) -> None:
        self._piece = len(data)
        try:
            self.parser.feed_data(data)
            if self._in_head:
                self._head += len(data)
                self._check_size(self._head)
        except HttpParserUpgrade as offer:
            self._ignore_offer(data[offer.args[0] :])
        except HttpParserError as error:
            cause = error.__context__  # what one of the methods above raised
            if not isinstance(cause, RequestError):
                cause = MalformedRequestError("the request is not valid HTTP/1.1")
            self._refuse(cause)
        except HeadTooLargeError as error:
            self._refuse(error)

    def _check_size(self, size: int) -> None:
        if size > MAX_HEAD:
            raise HeadTooLargeError(f"the request line and headers have more than {MAX_HEAD} bytes")

    def _ignore_offer(self, rest: bytes) -> None:
        """Parse the request again, without its offer, by a parser that has not stopped."""
        self._offered = False
        method, version = self.parser.get_method(), self.parser.get_http_version()
        if method == b"CONNECT":
            self._refuse(MalformedRequestError("CONNECT: this is no proxy"))
            return
        head = without_offer(method, self.url, version, self.headers)
        self._new_parser()
        self._parse(head)
        if not self._refused:
            self._parse(rest)

    def _refuse(self, error: RequestError) -> None:
        """Answer the request that is being received with an error, and close after it."""
        self._refused = True
        self._stop_waiting()
        if self._coming and not self._in_head:  # the application has it, and waits for its body
            cast(dict[str, Any], self.cycle.scope)[REFUSAL] = error
            self.cycle.keep_alive = self.cycle.more_body = False
            self.cycle.message_event.set()
            if self.cycle.response_complete:
                self.transport.close()
            return
        headers = self.headers if self._in_head else []
        method = b"HEAD" if self.parser.get_method() == b"HEAD" else b"GET"
        self._new_parser()
        self.parser.feed_data(STAND_IN % method)
        cast(dict[str, Any], self.cycle.scope).update({"headers": headers, REFUSAL: error})

    def _new_parser(self) -> None:
        self.parser = HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does

    def _idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _await_message(self) -> None:
        self._stop_waiting()
        self._to_come = self.loop.call_later(self._seconds, self._message_is_late)

    def _stop_waiting(self) -> None:
        if self._to_come is not None:
            self._to_come.cancel()
            self._to_come = None

    def _message_is_late(self) -> None:
        if not self._idle():
            self._await_message()
        elif self._in_head:
            self._refuse(HeadTimeoutError(f"the head did not arrive within {self._seconds:g} s"))
        else:
            self.transport.close()
            self._reader.start()
