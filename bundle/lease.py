"""One publisher at a time in an object store, which knows no locks.

The object `locks/publish` says who publishes and until when; its holder pushes that time on while
it lives.
It is made by a conditional write (`If-None-Match: *` on S3, generation 0 on GCS, no overwriting on
Azure), so that of two who come together one is refused. A killed holder's lease runs out and is
replaced. What is read back after a moment decides, there and in a store that ignores the condition:
then two who come within that moment are told apart, and later ones see the lease.

Clocks may differ by `SECONDS` − `SECONDS` / 4. A holder that stood still for so long that its lease
ran out notices before it changes the pointer.
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
"""How long a lease is good for; a quarter of it passes between renewals."""
SETTLE = 1.0
"""What is waited before a new lease is read back, s."""


class Objects(Protocol):
    """What a lease needs of a store."""

    root: str

    def read(self, name: str) -> bytes | None: ...
    def write(self, name: str, content: bytes) -> None: ...
    def create(self, name: str, content: bytes) -> bool: ...
    def remove(self, name: str) -> None: ...


class _Entry(BaseModel):
    """The content of `LOCK`; `until` in s since 1970."""

    token: str
    holder: str
    until: float


class Lease:
    """The right to change a store, as long as `with` lasts.

    Args:
        objects: the store.
        what: a verb; only one may do it at a time.

    Raises:
        StoreError: on entering, somebody else has it.
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
        """Take it."""
        self._take()
        try:
            time.sleep(SETTLE)
            self.check()
        except BaseException:
            self._give_back()
            raise
        self._renewals.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give it back."""
        self._stop.set()
        self._renewals.join()
        self._give_back()

    def check(self) -> None:
        """Look whether it is still there.

        Raises:
            StoreError: it ran out, or somebody else has it.
        """
        if time.time() > self._until or not self._mine():
            raise self._taken(self._read())

    def _take(self) -> None:
        for _ in range(3):
            other = self._read()
            if other is None:
                if self._written(self._objects.create):
                    return
            elif other.token == self._token:
                self._until = other.until  # it was written, only the answer was lost
                return
            elif other.until > time.time():
                raise self._taken(other)
            else:
                self._objects.remove(self._name)  # its holder is dead
        raise self._taken(self._read())

    def _give_back(self) -> None:
        with suppress(StoreError):  # then it runs out
            if self._mine():
                self._objects.remove(self._name)

    def _renew(self) -> None:
        while not self._stop.wait(SECONDS / 4):
            with suppress(StoreError):  # the next time, until it is over, which `check` sees
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
            raise StoreError(f"{where}: is no lease; delete it if nobody is at work") from error

    def _taken(self, other: _Entry | None) -> StoreError:
        who = "" if other is None else f" ({other.holder}, {other.until - time.time():.0f} s more)"
        return StoreError(f"{self._objects.root}: somebody else is {self._what}ing{who}")
