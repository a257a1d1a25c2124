"""The service's Redis: single, behind Sentinel or cluster."""

from dataclasses import dataclass
from typing import Any

import redis

from bundle.errors import InputError
from training.refresh.errors import SourceError

TIMEOUT = 10.0
"""What Redis may take for a reply, s."""


@dataclass(frozen=True)
class RedisOptions:
    """How the service uses a Redis.

    Attributes:
        namespace: its `--redis-namespace`.
        cluster: whether it is a cluster.
        sentinel: name of the master; the URL is that of a Sentinel then.
    """

    namespace: str = "default"
    cluster: bool = False
    sentinel: str | None = None


def open_redis(url: str, options: RedisOptions) -> Any:
    """A client that waits for each reply for TIMEOUT at most.

    Raises:
        InputError: that is no URL of a Redis.
        SourceError: the cluster cannot be reached.
    """
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
    except ValueError:
        raise InputError("that is no URL of a Redis") from None


def _master(url: str, name: str, common: dict[str, Any]) -> Any:
    """A client of the master that the Sentinel of the URL names.

    User, password and database of the URL are the master's.
    """
    untyped: Any = redis  # redis-py has no hints here
    parsed: dict[str, Any] = dict(untyped.connection.parse_url(url))
    address = parsed.pop("host", "localhost"), parsed.pop("port", 26379)
    secure: dict[str, Any] = {"ssl": parsed.pop("connection_class", None) is not None}
    secure |= {key: parsed.pop(key) for key in list(parsed) if key.startswith("ssl_")}
    sentinel = untyped.Sentinel([address], sentinel_kwargs=common | secure)
    return sentinel.master_for(name, **common, **secure, **parsed)
