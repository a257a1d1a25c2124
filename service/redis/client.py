"""Redis clients: for a single server, Sentinel or a cluster, by the settings."""

import asyncio
from contextlib import suppress
from typing import Any, TypeAlias

from redis.asyncio import Redis, RedisCluster, Sentinel
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff

import service.redis.timeouts  # noqa: F401  # makes those of redis-py patient
from bundle.events.redis_url import sentinel_url, split_addresses
from service.settings import Settings

Client: TypeAlias = Redis | RedisCluster
SLOTS_PAUSE = 0.2
"""Time between two questions for a cluster's slots, s: a failover takes a second or more."""


def open_client(settings: Settings, timeout: float, connections: int | None = None) -> Client:
    """A client that is not connected yet.

    Args:
        settings: the configuration, with a Redis URL.
        timeout: for connecting and for each reply, in seconds.
        connections: maximum number of connections; no limit by default.
    """
    assert settings.redis_url is not None
    url = settings.redis_url.get_secret_value()
    # A retry would cost a second timeout; the caller has a better fallback.
    retry = Retry(NoBackoff(), 0)
    common: dict[str, Any] = {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "protocol": 2,
    }
    if settings.redis_cluster:
        first, addresses = split_addresses(url)
        nodes = [ClusterNode(*address) for address in addresses]
        return RedisCluster.from_url(
            first,
            startup_nodes=nodes,
            max_connections=connections or 2**31,
            retry=retry,
            **common,
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


async def drop_connections(client: Client) -> None:
    """Close the connections of a client, which makes new ones when it needs them."""
    if isinstance(client, RedisCluster):
        await client.aclose()
    else:
        await client.connection_pool.disconnect()


class Slots:
    """Knowledge of a cluster client of the slots, asked for anew when a call has failed.

    Without it a client would go on asking a master that is gone: pipelines of redis-py learn of a
    failover only where a retry is left, and ours have none. Connections to other nodes stay open.

    Args:
        client: any client; only one of a cluster has slots.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._asking: asyncio.Task[None] | None = None

    def doubt(self) -> None:
        """Ask soon, unless that has begun; not on the way of the caller."""
        if self._asking is None and isinstance(self._client, RedisCluster):
            self._asking = asyncio.create_task(self._ask(self._client))

    async def close(self) -> None:
        """Stop asking."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    async def _ask(self, client: RedisCluster) -> None:
        try:
            # Of a peer that is not Redis, parsers raise errors of many kinds. The next failure of a
            # call, which is reported, lets it ask again.
            with suppress(Exception):
                await client.nodes_manager.initialize()
            await asyncio.sleep(SLOTS_PAUSE)
        finally:
            self._asking = None


def _master(url: str, name: str, common: dict[str, Any], options: dict[str, Any]) -> Redis:
    """A client that asks the URL's Sentinels for the master whenever it connects."""
    addresses, security, of_master = sentinel_url(url, parse_url)
    # redis-py has no type hints here.
    sentinel = Sentinel(addresses, sentinel_kwargs=common | security)  # type: ignore[no-untyped-call]
    master: Redis = sentinel.master_for(name, **common, **security, **of_master, **options)
    return master
