"""Proxies to Redis that delay or damage its replies, and a server that is no Redis."""

import asyncio
import contextlib
import random
import re
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Literal

from tests.support.waiting import DEADLINE

PassOn = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]
COMMANDS = re.compile(rb"(?:\A|\r\n)\*\d+\r\n")
"""Beginning of a command of Redis in what a client sends."""
Fault = Literal["none", "reset", "half", "half_and_wait"]


async def _unchanged(data: bytes, sink: asyncio.StreamWriter) -> None:
    sink.write(data)


class SlowProxy:
    """A TCP proxy that delays each piece of Redis's replies.

    Args:
        target_port: Redis's port.
        delay: shortest and longest delay, s.
    """

    def __init__(self, target_port: int, delay: tuple[float, float]) -> None:
        self.target_port = target_port
        self.delay = delay
        self.port = 0
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        assert self._ready.wait(DEADLINE)
        self.url = f"redis://127.0.0.1:{self.port}/0"

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        try:
            await asyncio.gather(
                self._pipe(reader, server_writer, _unchanged),
                self._pipe(server_reader, writer, self._reply),
            )
        finally:
            for end in (writer, server_writer):
                end.transport.abort()

    async def _pipe(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, pass_on: PassOn
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65_536):
                await pass_on(data, sink)
                await sink.drain()
        sink.close()

    async def _reply(self, data: bytes, sink: asyncio.StreamWriter) -> None:
        await asyncio.sleep(random.uniform(*self.delay))
        sink.write(data)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(DEADLINE)


class FaultyProxy(SlowProxy):
    """A proxy that passes requests on and damages the replies as `fault` says.

    reset: the connection is reset; half: it ends in the middle of a reply; half_and_wait: half a
    reply is sent, and nothing more.
    """

    def __init__(self, target_port: int) -> None:
        self.fault: Fault = "none"
        super().__init__(target_port, (0, 0))

    async def _reply(self, data: bytes, sink: asyncio.StreamWriter) -> None:
        if self.fault == "none":
            await super()._reply(data, sink)
            return
        if self.fault == "reset":
            linger = struct.pack("ii", 1, 0)
            sink.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        else:
            sink.write(data[: len(data) // 2])
            await sink.drain()
            if self.fault == "half_and_wait":
                await asyncio.sleep(3600)
        sink.transport.abort()


@contextlib.contextmanager
def constant_reply_server(reply: bytes) -> Iterator[int]:
    """A server that answers each command with the same bytes; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def talk(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                while data := connection.recv(65_536):
                    connection.sendall(reply * len(COMMANDS.findall(data)))

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=talk, args=listening.accept()[:1], daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(DEADLINE)
