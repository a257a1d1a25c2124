"""Client of the service's Redis: single server, Sentinel or cluster."""

from dataclasses import dataclass
from typing import Any

import redis

from bundle.errors import InputError
from bundle.events.redis_url import check_redis_url, sentinel_url
from training.errors import SourceError

TIMEOUT = 10.0
"""Time-out for connecting and for a reply, in seconds; a refresh can wait longer than a request."""


@dataclass(frozen=True)
class RedisOptions:
    """The service's options for its Redis.

    Attributes:
        namespace: the service's `--redis-namespace`.
        cluster: whether the URL is that of a Redis Cluster.
        sentinel: name of the master if the URL is that of a Sentinel, otherwise None.
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
    except InputError as error:
        raise InputError(f"the URL of Redis {error}") from None
    common: dict[str, Any] = {
        "socket_timeout": TIMEOUT,
        "socket_connect_timeout": TIMEOUT,
        "protocol": 2,
    }
    try:
        if options.cluster:
            return redis.RedisCluster.from_url(url, **common)
        if options.sentinel is not None:
            return _master(url, options.sentinel, common)
        return redis.Redis.from_url(url, **common)
    except redis.RedisError as error:
        raise SourceError(f"Redis: {error}") from error


def _master(url: str, name: str, common: dict[str, Any]) -> Any:
    """A client of the master that the URL's Sentinel names."""
    untyped: Any = redis  # redis-py has no type hints here
    address, security, master = sentinel_url(dict(untyped.connection.parse_url(url)))
    sentinel = untyped.Sentinel([address], sentinel_kwargs=common | security)
    return sentinel.master_for(name, **common, **security, **master)
