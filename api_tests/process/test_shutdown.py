"""SIGTERM and SIGHUP: requests in work are finished, within a limit."""

import errno
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.support.running.servers import RunningRedis, RunningService
from tests.support.running.service_fixtures import Published, StartService, hung_service
from tests.support.waiting import DEADLINE, wait_until

pytestmark = pytest.mark.slow

HELD = 4.0
"""Seconds for which a hanging Redis holds requests."""


def in_flight(service: RunningService) -> float:
    """Requests in work, with the one that asks."""
    return service.metric("requests_in_flight")


@pytest.mark.parametrize("workers", [1, 2])
def test_requests_in_work_are_finished_after_sigterm(
    start: StartService, redis_server: RunningRedis, published: Published, workers: int
) -> None:
    service = hung_service(start, redis_server, HELD, state_timeout=2, workers=workers)
    users = [f"user-{n}" for n in range(20, 40)]

    # One client: to make twenty takes longer than the requests do.
    with httpx.Client(timeout=DEADLINE) as client, ThreadPoolExecutor(len(users)) as pool:
        urls = [f"{service.url}/recommend/{user_id}" for user_id in users]
        in_work = [pool.submit(client.get, url) for url in urls]
        wait_until(lambda: in_flight(service) == len(users) + 1, "all requests in work")
        assert not any(future.done() for future in in_work)
        assert service.terminate() == 0
        for future in in_work:
            response = future.result()
            assert response.status_code == 200
            assert response.json()["degraded"]
            published.check(response.json())
    with pytest.raises(httpx.ConnectError):
        httpx.get(service.url)
    assert len(service.events("stopped")) == workers


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_connections_are_refused_while_requests_in_work_are_finished(
    start: StartService, redis_server: RunningRedis, workers: int, number: signal.Signals
) -> None:
    service = start(redis_url=redis_server.url, vector_cache_size=0, workers=workers)
    # A worker that is still starting keeps the socket until it is done, and waits for Redis.
    wait_until(lambda: len(service.events("serving")) == workers, "all workers")
    redis_server.hang()

    def refused() -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", service.port)) == errno.ECONNREFUSED

    with ThreadPoolExecutor(1) as pool:
        url = f"{service.url}/recommend/user-20"
        in_work = pool.submit(httpx.get, url, timeout=DEADLINE)
        wait_until(lambda: in_flight(service) == 2, "the request")
        service.process.send_signal(number)
        wait_until(refused, "a refused connection")
        assert not in_work.done()
        redis_server.resume()
        assert in_work.result().status_code == 200
    assert service.process.wait(DEADLINE) == 0


def test_requests_that_take_longer_than_the_limit_are_broken_off(
    start: StartService, redis_server: RunningRedis
) -> None:
    service = hung_service(start, redis_server, state_timeout=2, drain_seconds=1)
    with ThreadPoolExecutor(1) as pool:
        stuck = pool.submit(httpx.get, f"{service.url}/recommend/user-20", timeout=DEADLINE)
        wait_until(lambda: in_flight(service) == 2, "the request")
        started = time.monotonic()
        service.process.terminate()
        response = stuck.result()
        assert response.status_code == 503
        assert response.json()["error"]["code"] == "shutting_down"
        assert response.headers["x-request-id"]
        service.process.wait(DEADLINE)
        assert time.monotonic() - started < 50  # and not the 60 s of Redis
