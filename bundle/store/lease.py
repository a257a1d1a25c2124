"""A lease: a lock with an expiry time, for object stores, which have no locks.

The object `locks/<action>` names the holder and the expiry time; the holder renews it until it is
done. If the holder dies, the lease expires and the next process replaces it.

The object is created by a conditional write (`If-None-Match: *` on S3, generation 0 on GCS, no
overwriting on Azure), so of two processes that start at the same time one is refused. Two that
replace an expired lease, or use a store that ignores the condition, may both succeed. Therefore
every process reads the object again after SETTLE, and the token found there decides.

Clocks may differ by up to ¾ of SECONDS. A holder that was suspended until its lease expired notices
this by `check` before it moves the pointer.
"""

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Protocol, Self

from pydantic import BaseModel, ValidationError

from bundle.errors import StoreError

SECONDS = 120.0
"""Lifetime of a lease, in seconds, renewed every quarter of it: the time for which a publisher that
died keeps others out."""
SETTLE = 1.0
"""Time between writing a new lease and reading it again, in seconds: longer than a write takes."""


class Objects(Protocol):
    """The operations on objects that a lease needs; see `bundle.store.object_store`."""

    root: str

    def read(self, name: str) -> bytes | None: ...
    def write(self, name: str, content: bytes) -> None: ...
    def create(self, name: str, content: bytes) -> bool: ...
    def remove(self, name: str) -> None: ...


class _Entry(BaseModel):
    """Content of the object; `until` is the expiry time in s since 1970."""

    token: str
    holder: str
    until: float


class Lease:
    """A lock on an action, held for the duration of a `with` block.

    Args:
        objects: the object store.
        what: the action, a verb such as `publish`.

    Raises:
        StoreError: on entering, another process holds the lease.
    """

    def __init__(self, objects: Objects, what: str) -> None:
        self._objects = objects
        self._what = what
        self._name = f"locks/{what}"
        self._token = uuid.uuid4().hex
        self._until = 0.0
        self._stop = threading.Event()
        self._renewals = threading.Thread(target=self._renew, daemon=True, name="lease")

    def __enter__(self) -> Self:
        """Acquire the lease and begin to renew it."""
        self._acquire()
        try:
            time.sleep(SETTLE)
            self.check()
        except BaseException:
            self._release()
            raise
        self._renewals.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release the lease."""
        self._stop.set()
        self._renewals.join()
        self._release()

    def check(self) -> None:
        """Check that this process still holds the lease.

        Raises:
            StoreError: it expired, or another process holds it.
        """
        if time.time() > self._until or not self._mine():
            raise self._taken(self._read())

    def _acquire(self) -> None:
        for _ in range(3):
            other = self._read()
            if other is None:
                if self._written(self._objects.create):
                    return
            elif other.token == self._token:
                self._until = other.until  # the write succeeded, only its response was lost
                return
            elif other.until > time.time():
                raise self._taken(other)
            else:
                self._objects.remove(self._name)  # expired: its holder died
        raise self._taken(self._read())

    def _release(self) -> None:
        with suppress(StoreError):  # if that fails, it expires
            if self._mine():
                self._objects.remove(self._name)

    def _renew(self) -> None:
        while not self._stop.wait(SECONDS / 4):
            with suppress(StoreError):  # tried again next time; if it expires, `check` raises
                if not self._mine():
                    return
                self._written(self._objects.write)

    def _written(self, write: Callable[[str, bytes], bool | None]) -> bool:
        until = time.time() + SECONDS
        holder = f"process {os.getpid()} on {socket.gethostname()}"
        entry = _Entry(token=self._token, holder=holder, until=until)
        done = write(self._name, entry.model_dump_json().encode()) is not False
        if done:
            self._until = until
        return done

    def _mine(self) -> bool:
        entry = self._read()
        return entry is not None and entry.token == self._token

    def _read(self) -> _Entry | None:
        raw = self._objects.read(self._name)
        try:
            return None if raw is None else _Entry.model_validate_json(raw)
        except ValidationError as error:
            where = f"{self._objects.root}/{self._name}"
            raise StoreError(f"{where}: not a lease; delete it if no process is at work") from error

    def _taken(self, other: _Entry | None) -> StoreError:
        holder = (
            "" if other is None else f" ({other.holder}, {other.until - time.time():.0f} s more)"
        )
        return StoreError(f"{self._objects.root}: another process is {self._what}ing{holder}")
