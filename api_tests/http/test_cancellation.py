"""Clients that close their connection during a request, and the requests of the others."""

import asyncio
import functools
import json
import random
from typing import Any

import pytest

from tests.support.running.proxies import SlowProxy
from tests.support.running.servers import RunningRedis, RunningService
from tests.support.running.service_fixtures import Published, StartService
from tests.support.waiting import DEADLINE, wait_until

CLIENTS = 1000
GIVE_UP = 0.3
"""Share of the clients that close their connection."""


async def one_client(
    service: RunningService, published: Published, user_id: str, rng: random.Random
) -> dict[str, Any] | None:
    """The answer; None if this client closed its connection before it came."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    try:
        writer.write(f"GET /recommend/{user_id} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await writer.drain()
        if rng.random() < GIVE_UP:
            await asyncio.sleep(rng.uniform(0, 0.02))
            return None
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), DEADLINE)
        assert head.startswith(b"HTTP/1.1 200"), head
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        answer: dict[str, Any] = json.loads(await reader.readexactly(length))
    finally:
        writer.transport.abort()
    assert answer["user_id"] == user_id
    published.check(answer)
    return answer


@pytest.mark.slow
@pytest.mark.parametrize(
    ("redis_timeout", "delay"), [(60.0, (0.002, 0.03)), (0.03, (0.001, 0.06))], ids=["slow", "late"]
)
def test_clients_that_close_their_connections_disturb_no_others(
    start: StartService,
    redis_server: RunningRedis,
    published: Published,
    redis_timeout: float,
    delay: tuple[float, float],
) -> None:
    users = [user for user in published.known if user.startswith("user-")][2:302]
    filling = start(redis_url=redis_server.url)
    for user_id in users:
        filling.get(f"/recommend/{user_id}")
    vectors = functools.partial(redis_server.client.keys, "*:user_vector:*")
    wait_until(lambda: len(vectors()) == len(users), "the vectors in Redis")

    proxy = SlowProxy(redis_server.port, delay)
    service = start(
        redis_url=proxy.url,
        redis_timeout=redis_timeout,
        vector_cache_size=1,
        breaker_failures=1_000_000,
        max_concurrency=1000,
    )
    rng = random.Random(0)

    async def ask_all() -> list[dict[str, Any] | None]:
        asked = [users[n % len(users)] for n in range(CLIENTS)]
        rng.shuffle(asked)
        return await asyncio.gather(*(one_client(service, published, u, rng) for u in asked))

    try:
        answers = [a for a in asyncio.run(ask_all()) if a is not None]
        assert CLIENTS * 0.6 < len(answers) < CLIENTS * 0.8
        if redis_timeout > 1:
            assert all((a["cache"], a["degraded"]) == ("hit", False) for a in answers)
        # The digest in a value would tell another user's vector: none came.
        assert service.metric("redis_errors_total", kind="corrupt") == 0
        assert service.metric("redis_errors_total", kind="reply") == 0
        assert service.metric("requests_in_flight") == 1
        # The connections to Redis still work.
        for user_id in users[:50]:
            published.check(service.get(f"/recommend/{user_id}").json())
        assert service.terminate() == 0
    finally:
        proxy.close()
