"""HTTP as uvicorn speaks it, with an end to what a client can leave open.

uvicorn has a time-out for connections that are idle after a request. It has none for those that
never send one, that send it a byte at a time, or that do not read the answer, and no limit to the
size of a head.
"""

import asyncio
import sys
from fcntl import ioctl
from termios import TIOCOUTQ
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD = 65_536
"""Bytes of a request line with its headers, give or take what comes in one piece."""


class BoundedHttp(HttpToolsProtocol):
    """A connection.

    A request that does not come whole in time is left to the application, if that is waiting for
    its body (`service.deadline`); else the connection is closed.

    Args:
        seconds: for a request to come whole, and for a client to read anything of its answer.
        options: as of uvicorn's.
    """

    def __init__(self, *, seconds: float, **options: Any) -> None:
        super().__init__(**options)
        self._seconds = seconds
        self._to_come: asyncio.TimerHandle | None = None
        self._to_read: asyncio.TimerHandle | None = None
        self._head: int | None = 0
        """Bytes of the head so far; None if it is complete."""
        self._coming = False
        """Whether a request has begun and is not whole."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there; it has to send something."""
        super().connection_made(transport)
        self._await_message()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._stop_waiting()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some bytes came."""
        super().data_received(data)
        if self._head is not None:
            self._head += len(data)
            if self._head > MAX_HEAD and not self.transport.is_closing():
                self.send_400_response(f"The head has more than {MAX_HEAD} bytes.")
        # uvicorn's own time-out ended with the first byte, which may be an empty line. A request
        # that came in one piece, as most do, needs no timer.
        if self._to_come is None and (self._coming or self._idle_untimed()):
            self._await_message()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._head = 0
        self._coming = True
        self._stop_waiting()

    def on_headers_complete(self) -> None:
        """Its head is there."""
        self._head = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """All of it is there."""
        self._coming = False
        self._stop_waiting()
        super().on_message_complete()

    def pause_writing(self) -> None:
        """The client does not read as fast as it is answered."""
        super().pause_writing()
        self._await_reader()

    def resume_writing(self) -> None:
        """It read."""
        if self._to_read is not None:
            self._to_read.cancel()
            self._to_read = None
        super().resume_writing()

    def _idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _idle_untimed(self) -> bool:
        return self._idle() and self.timeout_keep_alive_task is None

    def _await_message(self) -> None:
        self._stop_waiting()
        self._to_come = self.loop.call_later(self._seconds, self._message_is_late)

    def _stop_waiting(self) -> None:
        if self._to_come is not None:
            self._to_come.cancel()
            self._to_come = None

    def _message_is_late(self) -> None:
        if self._idle():
            self.transport.close()
        else:
            self._await_message()

    def _await_reader(self) -> None:
        self._to_read = self.loop.call_later(self._seconds, self._reader_is_late, self._unread())

    def _reader_is_late(self, left: int) -> None:
        if self._unread() < left:
            self._await_reader()
        else:
            self.transport.abort()  # closing would wait for the reader

    def _unread(self) -> int:
        """Bytes that the client has not taken; the kernel's part alone may be megabytes."""
        queued = ioctl(self.transport.get_extra_info("socket").fileno(), TIOCOUTQ, bytes(4))
        return self.transport.get_write_buffer_size() + int.from_bytes(queued, sys.byteorder)
