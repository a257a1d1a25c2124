import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from conftest import Published, StartService
from servers import RunningRedis


@pytest.mark.parametrize("workers", [1, 2])
def test_requests_in_work_are_finished_after_sigterm(
    start: StartService, redis_server: RunningRedis, published: Published, workers: int
) -> None:
    service = start(
        redis_url=redis_server.url, redis_timeout=1.5, vector_cache_size=0, workers=workers
    )
    redis_server.hang()
    users = [f"user-{n}" for n in range(20, 40)]

    # One client: to make twenty takes longer than they have until the signal comes.
    with httpx.Client(timeout=10) as client, ThreadPoolExecutor(len(users)) as pool:
        urls = [f"{service.url}/recommend/{user_id}" for user_id in users]
        in_work = [pool.submit(client.get, url) for url in urls]
        time.sleep(0.7)
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


def test_a_drain_has_an_end(start: StartService, redis_server: RunningRedis) -> None:
    service = start(
        redis_url=redis_server.url, redis_timeout=30, vector_cache_size=0, drain_seconds=1
    )
    redis_server.hang()
    with ThreadPoolExecutor(1) as pool:
        stuck = pool.submit(httpx.get, f"{service.url}/recommend/user-20", timeout=20)
        time.sleep(0.5)
        started = time.monotonic()
        service.process.terminate()
        with pytest.raises(httpx.HTTPError):
            response = stuck.result()
            response.raise_for_status()
        service.process.wait(40)
        assert time.monotonic() - started < 10
