"""The API keys in force, read again when their file changes."""

import asyncio
import contextlib
from hmac import compare_digest
from pathlib import Path
from typing import NamedTuple

from service.key_file import KeyEntry, KeyFileError, KeyScope, read_key_file
from service.key_text import digest
from service.logs import LOGGER
from service.metrics import Metrics
from service.rate_limit import TokenBucket

POLL_SECONDS = 2.0


class Holder(NamedTuple):
    """Who has a key.

    Attributes:
        name: for logs and metrics.
        scopes: what they may do.
        bucket: how often; None for any number.
    """

    name: str
    scopes: frozenset[KeyScope]
    bucket: TokenBucket | None


class KeyRing:
    """The keys of one file; while it is entered, changes of the file are followed.

    A new file that does not fit is refused, and the keys before it stay. Whoever's entry did not
    change keeps their bucket.

    Args:
        path: the file.
        metrics: where refused files are counted.

    Raises:
        KeyFileError: the file cannot be read, or an entry does not fit.
    """

    def __init__(self, path: Path, metrics: Metrics) -> None:
        self._path = path
        self._refused = metrics.key_files_refused
        self._held: list[tuple[KeyEntry, bytes, Holder]] = []
        self._state = _state(path)
        self._hold(read_key_file(path))

    async def __aenter__(self) -> "KeyRing":
        """Begin to follow the file."""
        self._following = asyncio.create_task(self._follow())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop."""
        self._following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._following

    def find(self, key: str) -> Holder | None:
        """Who has this key. Takes as long whichever key it is, 0.04 µs for each that there is."""
        given = digest(key)
        found = None
        for _, held, holder in self._held:
            if compare_digest(held, given):
                found = holder
        return found

    def _hold(self, entries: list[KeyEntry]) -> None:
        before = {entry: holder for entry, _, holder in self._held}
        self._held = [(e, e.digest, before.get(e) or _holder(e)) for e in entries]

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            # In a thread: the file may be on a disk that hangs.
            state = await asyncio.to_thread(_state, self._path)
            if state == self._state:
                continue
            self._state = state
            try:
                self._hold(await asyncio.to_thread(read_key_file, self._path))
            except KeyFileError as error:
                self._refused.inc()
                LOGGER.error("key_file_refused", reason=str(error), keys=len(self._held))
            else:
                LOGGER.info("key_file_read", keys=len(self._held))


def _holder(entry: KeyEntry) -> Holder:
    rate = entry.requests_per_second
    bucket = None if rate is None else TokenBucket(rate, entry.at_once)
    return Holder(entry.name, entry.scopes, bucket)


def _state(path: Path) -> tuple[int, ...] | None:
    """What changes with the file, also when it is a link that is changed; None without a file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev
