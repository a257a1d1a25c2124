"""Client of the service's Redis: single server, Sentinel or cluster."""

from dataclasses import dataclass
from typing import Any

import redis

from bundle.errors import InputError
from bundle.events.redis_url import (
    check_one_address,
    check_redis_url,
    sentinel_url,
    split_addresses,
)
from training.errors import SourceError

TIMEOUT = 10.0
"""Time-out for connecting and for a reply, in seconds; a refresh can wait longer than a request."""


@dataclass(frozen=True)
class RedisOptions:
    """The service's options for its Redis.

    Attributes:
        namespace: the service's `--redis-namespace`.
        cluster: whether the URL is that of a Redis Cluster.
        sentinel: name of the master if the URL is that of Sentinels, otherwise None.
    """

    namespace: str = "default"
    cluster: bool = False
    sentinel: str | None = None


def open_redis(url: str, options: RedisOptions) -> Any:
    """Open a client.

    Raises:
        InputError: the URL is invalid.
        SourceError: the cluster cannot be reached.
    """
    try:
        check_redis_url(url, options.cluster, options.sentinel is not None)
        if not options.cluster and options.sentinel is None:
            check_one_address(url)
    except InputError as error:
        raise InputError(f"the URL of Redis {error}") from None
    untyped: Any = redis  # redis-py has no type hints for clusters and Sentinels
    common: dict[str, Any] = {
        "socket_timeout": TIMEOUT,
        "socket_connect_timeout": TIMEOUT,
        "protocol": 2,
    }
    try:
        if options.cluster:
            first, addresses = split_addresses(url)
            nodes = [untyped.cluster.ClusterNode(*address) for address in addresses]
            return redis.RedisCluster.from_url(first, startup_nodes=nodes, **common)
        if options.sentinel is not None:
            addresses, security, master = sentinel_url(url, untyped.connection.parse_url)
            sentinel = untyped.Sentinel(addresses, sentinel_kwargs=common | security)
            return sentinel.master_for(options.sentinel, **common, **security, **master)
        return redis.Redis.from_url(url, **common)
    except redis.RedisError as error:
        raise SourceError(f"Redis: {error}") from error
