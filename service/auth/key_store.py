"""API key store: the current keys, read again when their file changes."""

import asyncio
from hmac import compare_digest
from pathlib import Path
from typing import NamedTuple

from service.auth.key_file import KeyEntry, KeyFileError, KeyScope, read_key_file
from service.auth.rate_limit import TokenBucket
from service.observability.background import BackgroundLoop
from service.observability.logs import LOGGER
from service.observability.metrics import Metrics
from service.redaction import digest

POLL_SECONDS = 2.0
"""Interval between looks at the file, in seconds."""


class Holder(NamedTuple):
    """The holder of a key.

    Attributes:
        name: name in logs and metrics.
        scopes: the holder's permissions.
        bucket: rate limiter; None for no limit.
    """

    name: str
    scopes: frozenset[KeyScope]
    bucket: TokenBucket | None


class KeyStore:
    """The keys of one file; `async with` it to follow changes of the file.

    An invalid new file is refused, and the previous keys stay. A holder whose entry did not change
    keeps its rate limiter.

    Args:
        path: the file.
        metrics: count refused files.

    Raises:
        KeyFileError: the file cannot be read, or an entry is invalid.
    """

    def __init__(self, path: Path, metrics: Metrics) -> None:
        self._path = path
        self._metrics = metrics
        self._held: list[tuple[KeyEntry, bytes, Holder]] = []
        self._state = _state(path)
        self._hold(read_key_file(path))

    async def __aenter__(self) -> "KeyStore":
        """Start to follow the file."""
        self._following = BackgroundLoop("key_file", self._look, self._metrics, POLL_SECONDS)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop following it."""
        await self._following.close()

    def find(self, key: str) -> Holder | None:
        """The holder of a key; None if it is unknown. Takes the same time for any key."""
        given = digest(key)
        found = None
        for _, held, holder in self._held:
            if compare_digest(held, given):
                found = holder
        return found

    def _hold(self, entries: list[KeyEntry]) -> None:
        before = {entry: holder for entry, _, holder in self._held}
        self._held = [(e, e.digest, before.get(e) or _holder(e)) for e in entries]

    async def _look(self) -> None:
        # In a thread: the file may be on a file system that hangs.
        state = await asyncio.to_thread(_state, self._path)
        if state == self._state:
            return
        try:
            self._hold(await asyncio.to_thread(read_key_file, self._path))
        except KeyFileError as error:
            self._metrics.key_files_refused.inc()
            LOGGER.error("key_file_refused", reason=str(error), keys=len(self._held))
        else:
            LOGGER.info("key_file_read", keys=len(self._held))
        self._state = state


def _holder(entry: KeyEntry) -> Holder:
    rate = entry.requests_per_second
    bucket = None if rate is None else TokenBucket(rate, entry.at_once)
    return Holder(entry.name, entry.scopes, bucket)


def _state(path: Path) -> tuple[int, ...] | None:
    """Values that change with the file, or with the target of a link; None without a file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev
