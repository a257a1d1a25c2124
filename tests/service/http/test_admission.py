"""Places of requests that are admitted before they are parsed: kept while work is in progress."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from uvicorn import Config, Server

from service.http.admission import KEPT_HEADS, MAX_KEPT, AdmittedHttp
from service.http.listener import ConnectionLimit
from service.http.unread import UnreadResponses
from service.limiter import ConcurrencyLimiter
from service.observability.metrics import Metrics

LARGE = 64 * 2**20
"""Size of a response that no socket buffer takes, in bytes."""
SECONDS = 60.0
"""A timeout that no test reaches."""


class Work:
    """Endpoints whose work ends when a test says so.

    Attributes:
        started: for each path, set once a request for it has started.
        go_on: lets their work end.
        heads: the heads that the server keeps.
    """

    def __init__(self) -> None:
        self.heads: dict[bytes, bytes] = {}
        self.started: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.go_on = asyncio.Event()

    async def answer(self, request: Request) -> Response:
        self.started[request.url.path].set()
        if request.url.path == "/large":
            return Response(bytes(LARGE))
        await self.go_on.wait()
        return PlainTextResponse("done")


@asynccontextmanager
async def served(work: Work) -> AsyncIterator[int]:
    """A server for one request at a time; yields its port."""
    metrics = Metrics()
    limiter = ConcurrencyLimiter(1, SECONDS, metrics.shed)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Any]]:
        yield {"limiter": limiter, "metrics": metrics}

    http = partial(
        AdmittedHttp,
        seconds=SECONDS,
        unread=UnreadResponses(),
        limit=ConnectionLimit(100),
        heads=work.heads,
    )
    app = Starlette(routes=[Route("/{path:path}", work.answer)], lifespan=lifespan)
    server = Server(Config(app, port=0, http=http, log_config=None))  # type: ignore[arg-type]
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110  # uvicorn has no event for it
        await asyncio.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        work.go_on.set()
        server.should_exit = True
        await serving


def run(test: Callable[[Work, int], Awaitable[None]]) -> None:
    async def main() -> None:
        work = Work()
        async with served(work) as port:
            await test(work, port)

    asyncio.run(main())


async def ask(
    port: int, path: str, limit: int = 65_536, headers: str = "Host: x"
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=limit)
    writer.write(f"GET {path} HTTP/1.1\r\n{headers}\r\n\r\n".encode())
    return reader, writer


async def status(port: int, path: str, headers: str) -> int:
    reader, writer = await ask(port, path, headers=headers)
    line = await asyncio.wait_for(reader.readline(), SECONDS)
    writer.close()
    return int(line.split()[1])


def test_work_keeps_its_place_after_its_client_has_left() -> None:
    async def test(work: Work, port: int) -> None:
        _, left = await ask(port, "/one")
        await work.started["/one"].wait()
        left.close()
        await left.wait_closed()
        reader, writer = await ask(port, "/two")
        await asyncio.sleep(0.1)
        assert not work.started["/two"].is_set()
        work.go_on.set()
        assert (await reader.readline()).endswith(b"200 OK\r\n")
        writer.close()

    run(test)


def test_a_client_that_does_not_read_has_no_place() -> None:
    async def test(work: Work, port: int) -> None:
        _, slow = await ask(port, "/large", limit=1024)
        await work.started["/large"].wait()
        reader, writer = await ask(port, "/two")
        work.go_on.set()
        assert (await reader.readline()).endswith(b"200 OK\r\n")
        writer.close()
        slow.transport.abort()

    run(test)


@pytest.mark.parametrize("path", ["/two three", "/\x01"])
def test_a_request_that_cannot_be_read_gives_its_place_back(path: str) -> None:
    async def test(work: Work, port: int) -> None:
        work.go_on.set()
        for _ in range(3):
            reader, writer = await ask(port, path)
            await asyncio.wait_for(reader.readline(), SECONDS)
            writer.close()
        reader, writer = await ask(port, "/two")
        assert (await reader.readline()).endswith(b"200 OK\r\n")
        writer.close()

    run(test)


def test_heads_are_checked_until_they_were_good_once() -> None:
    async def test(work: Work, port: int) -> None:
        work.go_on.set()
        good, twice, none = "Host: x\r\nA: b", "Host: x\r\nHost: y", "A: b"
        for _ in range(3):
            assert await status(port, "/a", good) == 200
            await status(port, "/b", twice)
            await status(port, "/c", none)
        assert set(work.started) == {"/a", "/"}  # `/` stands in for those that are refused
        assert len(work.heads) == 1
        assert all(key is value for key, value in work.heads.items())

    run(test)


def test_few_heads_are_kept_and_none_that_is_long() -> None:
    async def test(work: Work, port: int) -> None:
        work.go_on.set()
        assert await status(port, "/a", f"Host: x\r\nA: {'b' * MAX_KEPT}") == 200
        assert not work.heads
        for number in range(KEPT_HEADS + 10):
            assert await status(port, "/a", f"Host: x\r\nA: {number}") == 200
        assert len(work.heads) == 10

    run(test)
