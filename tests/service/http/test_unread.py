"""Clients that do not read: what they hold in a worker, and how long, over real sockets."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import uvloop
from uvicorn import Config, Server

from service.http.protocol import BoundedHttp
from service.http.unread import MIN_RATE, UnreadResponses
from tests.support.waiting import DEADLINE, wait_until

MIB = 2**20
BODY = bytes(4 * MIB)
"""Much more than the kernel's buffers of a connection, which are made small."""
LIMIT = 13 * MIB


async def answer(scope: Any, receive: Any, send: Any) -> None:
    del receive
    body = BODY if scope["path"] == "/large" else bytes(10_000)
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})


@contextmanager
def serving(unread: UnreadResponses, seconds: float) -> Iterator[tuple[Server, int]]:
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
    protocol: Any = partial(BoundedHttp, seconds=seconds, unread=unread)
    config = Config(answer, http=protocol, ws="none", lifespan="off", log_config=None)
    server = Server(config)
    loop = uvloop.new_event_loop()

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(server.serve(sockets=[listening]))
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield server, listening.getsockname()[1]
    finally:
        server.should_exit = server.force_exit = True
        thread.join(DEADLINE)
        assert not thread.is_alive()


def ask(port: int, *paths: str, close: bool = False) -> socket.socket:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(DEADLINE)
    connection.connect(("127.0.0.1", port))
    last = "Connection: close\r\n" if close else ""
    for path in paths:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n{last}\r\n".encode())
    return connection


def read(connection: socket.socket, size: int) -> int:
    """Number of bytes until there are so many, or until the connection is reset."""
    found = 0
    try:
        while found < size and (data := connection.recv(MIB)):
            found += len(data)
    except ConnectionError:
        pass
    return found


def test_the_total_of_unread_responses_is_bounded() -> None:
    unread = UnreadResponses(limit=LIMIT)
    with serving(unread, DEADLINE) as (server, port):
        slow = []
        for _ in range(12):
            slow.append(ask(port, "/large", "/large"))
            assert slow[-1].recv(1, socket.MSG_PEEK)
            wait_until(lambda: unread.total <= LIMIT, "the end of the oldest responses")
        wait_until(lambda: len(server.server_state.connections) < 5, "the end of the oldest")
        assert unread.total > LIMIT - len(BODY)
        # The oldest were cut off, the newest are served.
        assert read(slow[0], len(BODY)) < len(BODY)
        assert read(slow[-1], 2 * len(BODY)) >= 2 * len(BODY)
        for connection in slow:
            connection.close()
        wait_until(lambda: unread.total == 0, "the end of all")


def test_a_client_that_reads_a_byte_at_a_time_is_cut_off() -> None:
    unread = UnreadResponses()
    seconds = 0.5
    for close in (False, True):
        with serving(unread, seconds) as (server, port), ask(port, "/large", close=close) as slow:
            wait_until(lambda: unread.total > 0, "the response")

            def read_a_little(slow: socket.socket = slow) -> bool:
                try:
                    slow.recv(int(MIN_RATE * seconds) // 1000)
                except ConnectionError:
                    return True
                return not server.server_state.connections

            wait_until(read_a_little, "the end of the connection")
            wait_until(lambda: unread.total == 0, "the release of the response")


def test_an_idle_connection_with_unread_bytes_ends() -> None:
    """Its buffer is below the mark from which on the transport tells of it."""
    unread = UnreadResponses()
    with serving(unread, 0.5) as (server, port), ask(port) as connection:
        wait_until(lambda: server.server_state.connections, "the connection")
        protocol: Any = next(iter(server.server_state.connections))
        while not protocol.transport.get_write_buffer_size():
            count = server.server_state.total_requests
            connection.sendall(b"GET /small HTTP/1.1\r\nHost: x\r\n\r\n")
            answered = partial(lambda count: server.server_state.total_requests > count, count)
            wait_until(answered, "the response", poll=0.001)
        assert unread.total == 0
        protocol.timeout_keep_alive = 0  # as if 5 s had passed
        protocol.timeout_keep_alive_handler()
        wait_until(lambda: not server.server_state.connections, "the end of the connection")
        assert unread.total == 0


def test_a_connection_ends_when_it_is_idle_for_long_and_not_before() -> None:
    with serving(UnreadResponses(), 0.5) as (server, port), ask(port) as connection:
        for _ in range(2):
            connection.sendall(b"GET /small HTTP/1.1\r\nHost: x\r\n\r\n")
            assert read(connection, 10_000) >= 10_000
        wait_until(lambda: server.server_state.total_requests == 2, "the responses")
        protocol: Any = next(iter(server.server_state.connections))
        protocol.timeout_keep_alive_handler()  # the timer of the first response
        assert not protocol.transport.is_closing()
        protocol.timeout_keep_alive = 0
        protocol.timeout_keep_alive_handler()
        assert read(connection, MIB) < MIB  # it ends
        wait_until(lambda: not server.server_state.connections, "the end of the connection")
