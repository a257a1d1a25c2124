"""Responses that clients have not read: their total size, and the time to read one, are bounded."""

import asyncio
import sys
from fcntl import ioctl
from termios import TIOCOUTQ

from service.observability.logs import LOGGER

MAX_UNREAD = 64 * 2**20
"""Maximum total of the responses that wait in a worker for their clients to read, in bytes; half of
what a worker takes without them. Up to 64 KiB of each connection are not counted."""
MIN_RATE = 16_384
"""Minimum rate at which a client must read a response that waits for it, in bytes a second."""


class UnreadResponses:
    """Total size of the responses of a worker that wait for their clients.

    Above the limit, connections are closed, the one that has waited longest first: clients that
    read as fast as networks are finish before those that do not read.

    Args:
        limit: maximum of the total, in bytes.
    """

    def __init__(self, limit: int = MAX_UNREAD) -> None:
        self._limit = limit
        self._sizes: dict[ReaderWatch, int] = {}
        self.total = 0

    def add(self, watch: "ReaderWatch", size: int) -> None:
        """Count a response; its whole size remains in memory until its last byte is sent."""
        self._sizes[watch] = size
        self.total += size
        while self.total > self._limit:
            next(iter(self._sizes)).cut_off("too_many")

    def remove(self, watch: "ReaderWatch") -> None:
        """Stop to count a response."""
        self.total -= self._sizes.pop(watch, 0)


class ReaderWatch:
    """Watch over a client that has to read a response.

    Args:
        transport: its connection.
        loop: the event loop.
        seconds: interval of the checks; in each, `MIN_RATE` applies.
        unread: the total that the response counts in.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        seconds: float,
        unread: UnreadResponses,
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._seconds = seconds
        self._responses = unread
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Start to watch, unless nothing is left to read or the watch has started."""
        size = self._transport.get_write_buffer_size()
        if self._timer is None and size:
            self._check_later()
            self._responses.add(self, size)

    def stop(self) -> None:
        """Stop to watch: the client has read, or left."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._responses.remove(self)

    def cut_off(self, reason: str) -> None:
        """Close the connection; what is unread is dropped."""
        LOGGER.warning("response_not_read", reason=reason, unread=self._unread())
        self.stop()
        # Later, as the transport may be in the middle of a write. Closing it instead would wait for
        # the client to read.
        self._loop.call_soon(self._transport.abort)

    def _check_later(self) -> None:
        self._timer = self._loop.call_later(self._seconds, self._check, self._unread())

    def _check(self, left: int) -> None:
        if left - self._unread() < MIN_RATE * self._seconds:
            self.cut_off("too_slow")
        else:
            self._check_later()

    def _unread(self) -> int:
        """Number of bytes that the client has not read, those in the kernel's buffer included."""
        queued = ioctl(self._transport.get_extra_info("socket").fileno(), TIOCOUTQ, bytes(4))
        return self._transport.get_write_buffer_size() + int.from_bytes(queued, sys.byteorder)
