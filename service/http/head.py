"""Heads of requests: their maximum size, what RFC 9112 refuses, and offers to upgrade."""

import re
from collections.abc import Sequence

from service.errors import MalformedRequestError

Headers = Sequence[tuple[bytes, bytes]]

MAX_HEAD = 65_536
"""Maximum size of a request line and its headers, in bytes; larger ones get 431."""
HOST = re.compile(rb"[\w.~!$&'()*+,;=%:\[\]-]*", re.ASCII)
"""A `Host`: what a URL may have between `//` and `/`, without a user. It may be empty."""


def check_head(version: str, headers: Headers) -> None:
    """Refuse a head that servers must not or cannot serve; what it lets pass llhttp has checked.

    Raises:
        MalformedRequestError: the version is not 1.0 or 1.1, `Host` is missing, repeated or none,
            or `Transfer-Encoding` is more than `chunked`. A proxy in front may read these in
            another way, and so a request within the request.
    """
    names = [name for name, _ in headers]
    hosts = names.count(b"host")
    if hosts != 1 and (hosts or version != "1.0"):
        raise MalformedRequestError(f"Host: is {'repeated' if hosts else 'missing'}")
    if hosts and not HOST.fullmatch(headers[names.index(b"host")][1]):
        raise MalformedRequestError("Host: is no name or address of a host")
    if b"transfer-encoding" in names:
        coding = headers[names.index(b"transfer-encoding")][1]
        if coding.lower() != b"chunked" or version == "1.0":
            raise MalformedRequestError("Transfer-Encoding: only chunked is known, in HTTP/1.1")
    if version not in ("1.1", "1.0"):
        raise MalformedRequestError(f"HTTP/{version} is not spoken here, only HTTP/1.1 and 1.0")


def head_size(method: bytes, url: bytes, headers: Headers) -> int:
    """Size of a head in bytes, without blanks around values."""
    line = len(method) + len(url) + len("  HTTP/1.1\r\n\r\n")
    return line + sum(len(name) + len(value) + len(": \r\n") for name, value in headers)


def without_offer(method: bytes, url: bytes, version: str, headers: Headers) -> bytes:
    """The same head without an offer to upgrade, which a server may ignore (RFC 9110, 7.8)."""
    lines = [b"%b %b HTTP/%b" % (method, url, version.encode())]
    lines += [b"%b: %b" % (name, value) for name, value in headers if name != b"upgrade"]
    return b"\r\n".join([*lines, b"", b""])
