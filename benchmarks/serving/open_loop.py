"""Open loop of requests: they are sent at a fixed rate, whether or not earlier ones are answered.

A pool of connections as a load balancer has it: a request takes a free connection or opens one, up
to a maximum; a client gives up after a time. Latency counts from the moment at which a request was
due.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

GIVE_UP = 2.0
"""Time after which a client closes the connection of a request without an answer, s."""
TICK = 0.001
"""Interval at which due requests are sent, s."""


@dataclass
class Outcome:
    """Results of the requests.

    Attributes:
        counts: requests by status, `timeout`, `broken` (connection ended) or `no connection`.
        latencies: of the answers with status 200, s.
    """

    counts: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)


class _Connection(asyncio.Protocol):
    def __init__(self, loop: "OpenLoop") -> None:
        self._loop = loop
        self.transport: asyncio.Transport | None = None
        self.due = 0.0
        self.number = -1
        """Of the request in progress; -1 without one."""
        self._head = b""
        self._left = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self._loop.request(self.number))

    def send(self, number: int, due: float) -> None:
        self.number, self.due = number, due
        if self.transport is not None:
            self.transport.write(self._loop.request(number))

    def data_received(self, data: bytes) -> None:
        if self._left == 0:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            head, data, self._head = self._head[:end].lower(), self._head[end + 4 :], b""
            self._status = head[9:12].decode()
            self._keep = b"connection: close" not in head
            self._left = int(head.partition(b"content-length: ")[2].partition(b"\r")[0])
        self._left -= len(data)
        if self._left == 0:
            self._loop.answered(self, self._status)
            if self._keep:
                self._loop.free.append(self)

    def connection_lost(self, _: Exception | None) -> None:
        self._loop.lost(self)


class OpenLoop:
    """A run of requests at a fixed rate.

    Args:
        port: of the server at 127.0.0.1.
        paths: requested in turn.
        rate: requests per second.
        connections: maximum number of open connections.
    """

    def __init__(self, port: int, paths: Sequence[str], rate: float, connections: int) -> None:
        self._port = port
        self._requests = [f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for path in paths]
        self._rate = rate
        self._maximum = connections
        self._connections: set[_Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self.free: list[_Connection] = []
        self._outcome = Outcome()

    def request(self, number: int) -> bytes:
        """The bytes of a request."""
        return self._requests[number % len(self._requests)]

    async def run(self, seconds: float) -> Outcome:
        """Send for some time, then wait for the last answers."""
        started, sent = time.perf_counter(), 0
        waiting: deque[tuple[int, float, _Connection]] = deque()
        while (now := time.perf_counter()) < started + seconds:
            for number in range(sent, int((now - started) * self._rate)):
                due = started + number / self._rate
                if (connection := self._take(number, due)) is None:
                    self._outcome.counts["no connection"] += 1
                else:
                    waiting.append((number, due, connection))
                sent = number + 1
            while waiting and waiting[0][1] < now - GIVE_UP:
                self._give_up(*waiting.popleft())
            await asyncio.sleep(TICK)
        await asyncio.sleep(GIVE_UP)
        for entry in waiting:
            self._give_up(*entry)
        for connection in list(self._connections):
            if connection.transport is not None:
                connection.transport.abort()
        return self._outcome

    def answered(self, connection: _Connection, status: str) -> None:
        """Count an answer."""
        connection.number = -1
        self._outcome.counts[status] += 1
        if status == "200":
            self._outcome.latencies.append(time.perf_counter() - connection.due)

    def lost(self, connection: _Connection) -> None:
        """Count a connection that ended, and the request that ended with it."""
        self._connections.discard(connection)
        if connection in self.free:
            self.free.remove(connection)
        if connection.number >= 0:
            self._outcome.counts["broken"] += 1
            connection.number = -1

    def _take(self, number: int, due: float) -> _Connection | None:
        if self.free:
            connection = self.free.pop()
            connection.send(number, due)
            return connection
        if len(self._connections) >= self._maximum:
            return None
        connection = _Connection(self)
        self._connections.add(connection)
        connection.send(number, due)
        opening = asyncio.create_task(self._open(connection))
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)
        return connection

    async def _open(self, connection: _Connection) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(GIVE_UP):
                await loop.create_connection(lambda: connection, "127.0.0.1", self._port)
        except (OSError, TimeoutError):
            self.lost(connection)

    def _give_up(self, number: int, due: float, connection: _Connection) -> None:
        del due
        if connection.number == number:
            connection.number = -1
            self._outcome.counts["timeout"] += 1
            if connection.transport is not None:
                connection.transport.abort()
