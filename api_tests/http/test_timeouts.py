"""Time limits: no work and no Redis keeps a request or a permit for ever."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.support.running.proxies import SlowProxy
from tests.support.running.servers import SHORT_TIMEOUT, RunningRedis
from tests.support.running.service_fixtures import Published, StartService
from tests.support.waiting import DEADLINE, wait_until

pytestmark = pytest.mark.slow


def at_last(ask: Callable[..., httpx.Response], status: int) -> httpx.Response:
    """The first answer with a status; a busy machine may exceed a limit of SHORT_TIMEOUT before."""
    answers: list[httpx.Response] = []

    def answered() -> bool:
        answers.append(ask())
        assert answers[-1].status_code in (status, 504), answers[-1].text
        return answers[-1].status_code == status

    wait_until(answered, f"status {status}")
    return answers[-1]


def test_work_that_takes_too_long_gets_504_and_keeps_nothing(
    start: StartService, redis_server: RunningRedis, published: Published
) -> None:
    service = start(
        redis_url=redis_server.url,
        redis_timeout=60,
        state_timeout=60,
        request_timeout=SHORT_TIMEOUT,
        max_concurrency=20,
        vector_cache_size=0,
    )
    user = published.known[0]
    event = {"user_id": "somebody", "item_id": "item-1", "key": "once"}
    requests: list[tuple[str, str, Any]] = [
        ("GET", f"/recommend/{user}", None),
        ("POST", "/recommend", {"users": published.known[:50]}),
        ("POST", "/events", {"events": [event]}),
        ("GET", "/users/somebody", None),
        ("PUT", "/items/item-1", {"columns": {}}),
    ]

    def ask(request: tuple[str, str, Any]) -> tuple[float, httpx.Response]:
        method, path, body = request
        started = time.monotonic()
        with httpx.Client(base_url=service.url, timeout=DEADLINE) as client:
            response = client.request(method, path, json=body)
        return time.monotonic() - started, response

    redis_server.hang()
    # Each round takes all permits: the second one finds them given back.
    for _ in range(2):
        with ThreadPoolExecutor(20) as pool:
            for seconds, response in pool.map(ask, requests * 4):
                assert response.status_code == 504, response.text
                assert response.json()["error"]["code"] == "timed_out"
                assert response.headers["x-request-id"]
                assert SHORT_TIMEOUT * 0.9 < seconds < 50  # and not Redis's limit, which is 60
    redis_server.resume()
    for request, status in zip(requests, (200, 200, 202, 200, 200), strict=True):
        at_last(lambda request=request: ask(request)[1], status)
    answer = at_last(lambda: ask(requests[2])[1], 202)
    assert answer.json() == {"accepted": 0, "repeated": 1}
    published.check(at_last(lambda: service.get(f"/recommend/{published.known[1]}"), 200).json())
    wait_until(lambda: service.metric("requests_in_flight") == 1, "the end of all requests")
    endpoint = "/recommend/{user_id}"
    assert service.metric("request_seconds_count", endpoint=endpoint, status="504") >= 8
    assert not service.events("request_failed")
    assert service.terminate() == 0


def test_many_time_outs_mix_up_no_answers(
    start: StartService, redis_server: RunningRedis, published: Published
) -> None:
    users = [user for user in published.known if user.startswith("user-")][:200]
    seconds = 1.0
    proxy = SlowProxy(redis_server.port, (0.0, seconds * 1.25))
    try:
        service = start(
            redis_url=proxy.url,
            redis_timeout=60,
            request_timeout=seconds,
            vector_cache_size=1,
            breaker_failures=1_000_000,
        )

        async def ask(client: httpx.AsyncClient, path: str) -> httpx.Response:
            while True:
                try:
                    return await client.get(path)
                except httpx.RemoteProtocolError as error:
                    # A client has as long to send its request, and a busy machine needs longer.
                    assert "without sending a response" in str(error)

        async def ask_all() -> list[httpx.Response]:
            limits = httpx.Limits(max_connections=60)
            async with httpx.AsyncClient(
                base_url=service.url, limits=limits, timeout=DEADLINE
            ) as client:
                paths = [f"/recommend/{user}" for user in users * 3]
                async with asyncio.timeout(DEADLINE):
                    return await asyncio.gather(*(ask(client, path) for path in paths))

        answers = asyncio.run(ask_all())
        statuses = [answer.status_code for answer in answers]
        assert set(statuses) == {200, 504}
        for user, answer in zip(users * 3, answers, strict=True):
            if answer.status_code == 200:
                assert answer.json()["user_id"] == user
                published.check(answer.json())
        assert service.metric("redis_errors_total", kind="corrupt") == 0
        wait_until(lambda: service.metric("requests_in_flight") == 1, "the end of all requests")
    finally:
        proxy.close()
