"""Clients of Redis, single, behind Sentinel or cluster, as the settings say."""

from typing import Any, TypeAlias

from redis.asyncio import Redis, RedisCluster, Sentinel
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff

from service.settings import Settings

Client: TypeAlias = Redis | RedisCluster


def open_client(settings: Settings, timeout: float, connections: int | None = None) -> Client:
    """A client that has not connected yet.

    Args:
        settings: with a Redis URL.
        timeout: of connecting and of each reply, s.
        connections: at most so many at a time; no limit by default.
    """
    assert settings.redis_url is not None
    url = settings.redis_url.get_secret_value()
    # A repeated attempt costs a second time-out; there is always something better to do.
    retry = Retry(NoBackoff(), 0)
    common: dict[str, Any] = {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "protocol": 2,
    }
    if settings.redis_cluster:
        return RedisCluster.from_url(
            url, max_connections=connections or 2**31, retry=retry, **common
        )
    if settings.redis_sentinel is not None:
        options: dict[str, Any] = {"max_connections": connections, "retry": retry}
        return _master(url, settings.redis_sentinel, common, options)
    return Redis.from_url(url, max_connections=connections, retry=retry, **common)


async def close_client(client: Client) -> None:
    """Close all connections of a client, those to Sentinels included."""
    await client.aclose()
    if isinstance(client, Redis) and isinstance(client.connection_pool, SentinelConnectionPool):
        await client.connection_pool.sentinel_manager.aclose()


def _master(url: str, name: str, common: dict[str, Any], options: dict[str, Any]) -> Redis:
    """A client that asks the Sentinel of the URL where the master is whenever it connects.

    User, password and database of the URL are the master's. A host with several addresses, such as
    a headless Service of Kubernetes, is as good as a list of Sentinels.
    """
    parsed: dict[str, Any] = dict(parse_url(url))
    address = parsed.pop("host", "localhost"), parsed.pop("port", 26379)
    secure: dict[str, Any] = {"ssl": parsed.pop("connection_class", None) is not None}
    secure |= {key: parsed.pop(key) for key in list(parsed) if key.startswith("ssl_")}
    # redis-py has no hints here.
    sentinel = Sentinel([address], sentinel_kwargs=common | secure)  # type: ignore[no-untyped-call]
    master: Redis = sentinel.master_for(name, **common, **secure, **parsed, **options)
    return master
