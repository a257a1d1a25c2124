"""Accepting connections, up to a limit.

Connections above the limit wait in the kernel, where they cost nothing, for one that ends. uvloop
accepts all that come, drops those for which it has no file descriptor, and tells nobody.
"""

import asyncio
import errno
import socket
from asyncio import Task, get_running_loop
from collections.abc import Callable
from itertools import islice
from typing import Any, Protocol

import uvloop

from service.observability.logs import LOGGER

TOGETHER = 64
"""Maximum number of connections that are accepted before other work goes on: 3 ms."""
NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
IDLE = 1.0
"""Time without a request after which a connection may be closed to make room, s. Closing one that
is in regular use would break its next request."""
TURN = 16
"""Share of the responses that end their connection while others wait and none is idle: 1 in TURN.
To make a connection anew costs about as much as two answers."""
PAUSE = 1.0
"""Time until accepting is tried again after the system had no room for a connection, s."""


class Closable(Protocol):
    """A connection that can be asked to end."""

    def close_idle(self) -> None:
        """Close; no request is in progress."""


class ConnectionLimit:
    """Limit of open connections of a process, shared by its listener and its connections.

    Where others wait to be accepted, connections without a request end, the longest idle one
    first, and if there are none, some end with their next response.

    Args:
        maximum: number of open connections above which no more are accepted.
    """

    def __init__(self, maximum: int) -> None:
        self.maximum = maximum
        self.open = 0
        self.on_room: Callable[[], None] | None = None
        """Is called when a connection ended and the limit is no longer reached."""
        self.others_wait = False
        """True while connections wait to be accepted."""
        self.idle: dict[Closable, float] = {}
        """Times at which connections became idle, on the loop's clock; the longest idle one first.
        The connections themselves come and go."""
        self._responses = 0

    @property
    def is_reached(self) -> bool:
        """True while no more connections are accepted."""
        return self.open >= self.maximum

    def enter(self) -> None:
        """Count a connection."""
        self.open += 1

    def leave(self, connection: Closable) -> None:
        """Count a connection that ended."""
        self.idle.pop(connection, None)
        self.open -= 1
        if self.others_wait and not self.is_reached and self.on_room is not None:
            self.others_wait = False
            self.on_room()

    def is_to_end(self) -> bool:
        """True if a connection is to end with its response, as others wait."""
        self._responses += 1
        return self._responses % TURN == 0

    def make_room(self, now: float) -> None:
        """Note that others wait; close connections that have been idle for long."""
        self.others_wait = True
        for connection, since in list(islice(self.idle.items(), TOGETHER)):
            if since > now - IDLE:
                return
            connection.close_idle()


class Listener:
    """A listening socket whose connections are accepted while there is room for them.

    It has the part of `asyncio.AbstractServer` that uvicorn uses.

    Args:
        sock: the socket; non-blocking from now on.
        protocol_factory: makes the protocol of a connection, which leaves the limit at its end.
        limit: the limit of connections.
    """

    def __init__(
        self,
        sock: socket.socket,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        limit: ConnectionLimit,
    ) -> None:
        self._socket = sock
        self._protocol_factory = protocol_factory
        self._limit = limit
        self._loop = get_running_loop()
        self._opening: set[Task[Any]] = set()
        self._closed = False
        sock.setblocking(False)
        limit.on_room = self._resume
        self._resume()

    def close(self) -> None:
        """Accept no more connections; the socket remains open."""
        self._closed = True
        self._loop.remove_reader(self._socket)

    async def wait_closed(self) -> None:
        """Return: the connections are not part of it."""

    def _resume(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._socket, self._accept)

    def _accept(self) -> None:
        for _ in range(TOGETHER):
            if self._limit.is_reached:
                # The socket is readable: somebody waits.
                self._loop.remove_reader(self._socket)
                self._limit.make_room(self._loop.time())
                return
            try:
                connection, _address = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in NO_ROOM:
                    raise
                LOGGER.error("connections_wait", reason=error.strerror, open=self._limit.open)
                self._loop.remove_reader(self._socket)
                self._loop.call_later(PAUSE, self._resume)
                return
            self._limit.enter()
            opening = self._loop.create_task(self._open(connection))
            self._opening.add(opening)
            opening.add_done_callback(self._opening.discard)

    async def _open(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        try:
            await self._loop.connect_accepted_socket(self._protocol_factory, connection)
        except OSError:  # the client has gone
            connection.close()
            self._limit.open -= 1


class BoundedLoop(uvloop.Loop):
    """uvloop whose servers accept connections up to a limit.

    Args:
        limit: the limit of connections.
    """

    def __init__(self, limit: ConnectionLimit) -> None:
        super().__init__()
        self._connection_limit = limit

    async def create_server(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        *,
        sock: socket.socket,
        backlog: int,
        **_: object,
    ) -> Listener:
        """Listen on a socket; arguments as of `loop.create_server`."""
        sock.listen(backlog)
        return Listener(sock, protocol_factory, self._connection_limit)
