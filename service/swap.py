"""Hot swap: a new live bundle replaces the running one without a failed request.

It is loaded beside the running one, verified, warmed with users that were asked for, and put in its
place; requests that are in work finish on the old one. A candidate that is damaged, or for which
there is no memory, is refused: the old one serves on.
"""

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple, Self

import numpy as np

from bundle.errors import BundleError, DRepMRecError
from bundle.store import BundleStore
from service.logs import LOGGER
from service.memory import available_memory
from service.running import Service
from service.serving import Serving

Outcome = Literal["unchanged", "swapped", "refused"]
ROOM = 1.5
"""Memory that a bundle may take, as a multiple of its files."""
WARM_USERS = 20
LOADER_NICENESS = 10
"""Of the thread that loads a candidate, and of those that it starts: for checksums, and the
encoders' own threads. Requests' p99 during a swap is a third lower with it."""


class Swap(NamedTuple):
    """What became of a look at the store.

    Attributes:
        outcome: what happened.
        version: of the bundle that serves now.
        reason: why the candidate was refused.
    """

    outcome: Outcome
    version: str
    reason: str | None = None


class Swapper:
    """Follows the pointer of a store; `async with` it.

    Args:
        service: whose bundle is replaced.
        store: where the pointer is.
        load: makes a `Serving` of a version; called in a thread.
        seconds: between looks; 0 looks when asked only.
    """

    def __init__(
        self, service: Service, store: BundleStore, load: Callable[[str], Serving], seconds: float
    ) -> None:
        self._service = service
        self._store = store
        self._load = load
        self._seconds = seconds
        self._refused: str | None = None
        self._for_good = False
        self._one_at_a_time = asyncio.Lock()
        self._loader = ThreadPoolExecutor(1, "loader", initializer=_give_way)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Begin to follow."""
        if self._seconds:
            self._task = asyncio.create_task(self._follow())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._loader.shutdown()

    async def look(self, again: bool = True) -> Swap:
        """Serve what the pointer says, if that can be served.

        Args:
            again: try a candidate that was refused before.
        """
        async with self._one_at_a_time:
            running = self._service.serving.bundle.version
            candidate: str | None = None
            try:
                candidate = await asyncio.to_thread(self._store.live_version)
                if candidate is None or candidate == running:
                    self._refused = None
                    return Swap("unchanged", running)
                if candidate == self._refused and self._for_good and not again:
                    return Swap("unchanged", running)
                loop = asyncio.get_running_loop()
                serving = await loop.run_in_executor(self._loader, self._prepare, candidate)
            except (DRepMRecError, OSError, MemoryError) as error:
                return self._refuse(candidate, running, error)
            await self._service.replace(serving)
            self._refused = None
            LOGGER.info("swapped", bundle_version=candidate, before=running)
            return Swap("swapped", candidate)

    def _refuse(self, candidate: str | None, running: str, error: BaseException) -> Swap:
        damaged = isinstance(error, BundleError)
        reason = "memory" if isinstance(error, MemoryError) else "damaged" if damaged else "store"
        # A store that cannot be used is looked at again; a bundle does not mend itself.
        self._for_good = reason != "store"
        if candidate is None or candidate != self._refused:
            LOGGER.error("bundle_refused", bundle_version=candidate, reason=str(error))
        self._service.metrics.bundles_refused.labels(reason).inc()
        self._refused = candidate
        return Swap("refused", running, str(error))

    def _prepare(self, version: str) -> Serving:
        left = available_memory()
        needed = int(self._store.manifest(version).size * ROOM)
        if left is not None and needed > left:
            raise MemoryError(
                f"{version}: needs {needed:,} bytes beside this one, {left:,} are left"
            )
        serving = self._load(version)
        users = [serving.bundle.users.get(user) for user in self._service.recent_users(WARM_USERS)]
        rows = np.array([row for row in users if row is not None], np.int32)
        if len(rows):
            seen = [serving.bundle.seen.row(row) for row in rows.tolist()]
            serving.recommender.recommend(rows, 20, seen)
        return serving

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            await self.look(again=False)


def _give_way() -> None:
    """Let requests come first where cores are short."""
    if sys.platform == "linux":  # elsewhere threads have no niceness of their own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOADER_NICENESS)
