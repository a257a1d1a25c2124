"""URLs of a Redis, a Redis Cluster or Sentinels, as the service and a refresh are given them.

Those of a Redis Cluster and of Sentinels may name several addresses, separated by commas, so that a
start needs any one of them: `redis://user:password@one:6379,two:6379`.

The client library drops what it does not understand and passes all options on, so that a wrong one
makes each connection fail. `check_redis_url` refuses them before anything is opened.
"""

import re
import ssl
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from bundle.errors import InputError

REDIS_SCHEMES = ("redis", "rediss", "unix")
"""Schemes of a Redis URL: TCP, TLS, Unix socket."""
DATABASE = re.compile(r"\d{1,9}")
_ANY, _BOOLEAN = re.compile(r".+"), re.compile(r"(?i:true|false|yes|no|[01])")
_FILES = ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile", "ssl_password")
OPTIONS = {
    "db": DATABASE,
    "username": _ANY,
    "password": _ANY,
    "client_name": re.compile(r"[!-~]+"),
    "health_check_interval": DATABASE,
    "socket_keepalive": _BOOLEAN,
    **dict.fromkeys(_FILES, _ANY),
    "ssl_ca_data": _ANY,
    "ssl_cert_reqs": re.compile("none|optional|required"),
    "ssl_check_hostname": _BOOLEAN,
    "ssl_ciphers": _ANY,
    "ssl_min_version": re.compile(r"77[12]"),
}
"""Options of a URL and their values. All others are the project's own to set, such as
`decode_responses` and the time-outs, or exist in no client."""
NOT_IN_CLUSTERS = ("ssl_ca_path", "ssl_password")


Address: TypeAlias = tuple[str, int]
"""Host and port."""


class SentinelUrl(NamedTuple):
    """Arguments that a URL of Sentinels stands for.

    Attributes:
        addresses: host and port of each Sentinel.
        security: TLS options, for the connections to Sentinel and master.
        master: options of the master: user, password and database.
    """

    addresses: list[Address]
    security: dict[str, Any]
    master: dict[str, Any]


def split_addresses(text: str, default_port: int = 6379) -> tuple[str, list[Address]]:
    """A URL with the first of its addresses alone, as client libraries take it, and all addresses.

    Args:
        text: a URL that `check_redis_url` takes, not that of a Unix socket.
        default_port: port of the addresses that name none.
    """
    url = urlsplit(text)
    login, at, hosts = url.netloc.rpartition("@")
    each = [urlsplit(f"redis://{host}") for host in hosts.split(",")]
    addresses = [(host.hostname or "", host.port or default_port) for host in each]
    return url._replace(netloc=login + at + each[0].netloc).geturl(), addresses


def sentinel_url(text: str, parse: Callable[[str], Mapping[str, Any]]) -> SentinelUrl:
    """Split the URL of Sentinels. User, password and database in it are the master's.

    Args:
        text: the URL.
        parse: redis-py's `parse_url`.
    """
    first, addresses = split_addresses(text, 26379)
    rest = dict(parse(first))
    for part in ("host", "port"):
        rest.pop(part, None)
    security: dict[str, Any] = {"ssl": rest.pop("connection_class", None) is not None}
    security |= {key: rest.pop(key) for key in list(rest) if key.startswith("ssl_")}
    return SentinelUrl(addresses, security, rest)


def check_one_address(text: str) -> None:
    """Check that the URL of a single server, neither a cluster's nor Sentinels', has one address.

    Raises:
        InputError: it has several; the message is like those of `check_redis_url`.
    """
    if "," in urlsplit(text).netloc.rpartition("@")[2]:
        raise InputError("names several addresses, which only a Redis Cluster and Sentinels have")


def check_redis_url(text: str, cluster: bool = False, sentinel: bool = False) -> None:
    """Check that a client can work with a URL; nothing is connected.

    Args:
        text: the URL.
        cluster: whether it is that of a Redis Cluster.
        sentinel: whether it is that of Sentinels.

    Raises:
        InputError: it cannot; the message continues a sentence that begins with the URL's name, and
            contains none of its values, which may be a password.
    """
    try:
        url = urlsplit(text)
        usable = url.scheme == "unix" or all(map(_usable, url.netloc.rpartition("@")[2].split(",")))
    except ValueError:
        raise InputError("is no URL") from None
    if url.scheme not in REDIS_SCHEMES:
        raise InputError("must begin with redis://, rediss:// or unix://")
    # A raw / ? # or @ in a password moves the rest of it out of the part that logs leave out.
    if "@" in url.path + url.query or url.fragment or not usable:
        raise InputError("is no URL of a Redis; in a password, / ? # @ must be percent-encoded")
    if url.scheme == "unix" and (cluster or sentinel):
        raise InputError("is a Unix socket; Redis Cluster and Sentinels need redis:// or rediss://")
    options = _options(url, cluster)
    path = unquote(url.path).removeprefix("/")
    if url.scheme == "unix":
        if not path:
            raise InputError("names no socket; it must be unix:///PATH")
    elif path:
        if not DATABASE.fullmatch(path):
            raise InputError("must end after the host, or with the number of a database: /0")
        if options.setdefault("db", path) != path:
            raise InputError("names two databases")
    if cluster and int(options.get("db", 0)):
        raise InputError("names a database, and a Redis Cluster has only 0")
    if url.scheme == "rediss":
        _check_certificates(options)


def _usable(host: str) -> bool:
    address = urlsplit(f"redis://{host}")
    return bool(address.hostname) and (address.port is None or address.port > 0)


def _options(url: SplitResult, cluster: bool) -> dict[str, str]:
    options: dict[str, str] = {}
    for name, value in parse_qsl(url.query, keep_blank_values=True):
        allowed = OPTIONS.get(name)
        if allowed is None or (cluster and name in NOT_IN_CLUSTERS):
            raise InputError(f"has an option that cannot be used here: {name[:40]!r}")
        if name in options:
            raise InputError(f"has {name} twice")
        if name.startswith("ssl_") and url.scheme != "rediss":
            raise InputError(f"has {name}, which needs rediss://")
        if name == "socket_keepalive" and url.scheme == "unix":
            raise InputError(f"has {name}, which a Unix socket has not")
        if not allowed.fullmatch(value):
            raise InputError(f"has a value of {name} that cannot be used")
        options[name] = value
    return options


def _check_certificates(options: dict[str, str]) -> None:
    """Read the files of certificates once, as each connection will."""
    context = ssl.create_default_context()
    named = {name: options[name] for name in _FILES if name in options}
    try:
        if {"ssl_ca_certs", "ssl_ca_path", "ssl_ca_data"} & options.keys():
            context.load_verify_locations(
                options.get("ssl_ca_certs"), options.get("ssl_ca_path"), options.get("ssl_ca_data")
            )
        if "ssl_certfile" in options or "ssl_keyfile" in options:
            context.load_cert_chain(
                options.get("ssl_certfile", ""),
                options.get("ssl_keyfile"),
                options.get("ssl_password", ""),  # without one, OpenSSL would ask the terminal
            )
        if "ssl_ciphers" in options:
            context.set_ciphers(options["ssl_ciphers"])
    except (OSError, ValueError, TypeError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or "not usable"
        given = ", ".join(name for name in named if name != "ssl_password") or "its ssl_ options"
        raise InputError(f"has certificates that cannot be used ({given}: {reason})") from None
