"""Reload: a new live bundle replaces the running one without a failed request.

The new bundle is loaded beside the running one, verified, warmed with recent users, and then takes
its place; requests in progress finish on the old one. A candidate that is damaged, or that does not
fit into memory, is refused, and the old one continues to serve.
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
from bundle.resources import available_memory
from bundle.store.store import BundleStore
from service.engine.engine import Engine
from service.engine.runtime import Runtime
from service.observability.background import BackgroundLoop
from service.observability.logs import LOGGER

Outcome = Literal["unchanged", "swapped", "refused"]
REASONS: tuple[tuple[type[Exception], str], ...] = (
    (BundleError, "damaged"),
    (MemoryError, "memory"),
    (DRepMRecError, "store"),
    (OSError, "store"),
)
"""Labels of the metric by the kind of error, the first that fits; others are `error`, a defect or a
fault of the machine, and tried again."""
ROOM = 1.5
"""Estimated memory of a loaded bundle, as a multiple of the size of its files."""
WARM_USERS = 20
"""Number of recent users whose search warms a new bundle."""
LOADER_NICENESS = 10
"""Niceness of the thread that loads a candidate, and of the threads that it starts. It lowers the
p99 of requests during a reload by a third."""


class ReloadOutcome(NamedTuple):
    """Result of a look at the store's pointer.

    Attributes:
        outcome: what happened.
        version: version of the bundle that serves now.
        reason: which candidate was refused, and the kind of reason.
    """

    outcome: Outcome
    version: str
    reason: str | None = None


class Reloader:
    """Follows the pointer of a store; `async with` it.

    Attributes:
        store: the store.

    Args:
        runtime: holds the engine that is replaced.
        store: the store whose pointer is followed.
        load: builds the engine of a version; called in a thread.
        seconds: interval between looks at the pointer; 0 looks only on request.
    """

    def __init__(
        self, runtime: Runtime, store: BundleStore, load: Callable[[str], Engine], seconds: float
    ) -> None:
        self._runtime = runtime
        self.store = store
        self._load = load
        self._seconds = seconds
        self._refused: str | None = None
        self._for_good = False
        self.refusal: str | None = None
        """Reason why the live bundle is not served, when that was last tried; None if it is."""
        self._one_at_a_time = asyncio.Lock()
        self._loader = ThreadPoolExecutor(1, "loader", initializer=give_way)
        self._following: BackgroundLoop | None = None

    async def __aenter__(self) -> Self:
        """Start to follow."""
        if self._seconds:
            metrics = self._runtime.metrics
            self._following = BackgroundLoop("reload", self._follow, metrics, self._seconds)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop following."""
        if self._following is not None:
            await self._following.close()
        self._loader.shutdown()

    async def look(self, again: bool = True) -> ReloadOutcome:
        """Serve the bundle that the pointer names, if that is possible.

        Args:
            again: whether to try a candidate that was refused before.
        """
        async with self._one_at_a_time:
            running = self._runtime.engine.bundle.version
            candidate: str | None = None
            try:
                candidate = await asyncio.to_thread(self.store.current)
                if candidate == running:
                    self._served()
                    return ReloadOutcome("unchanged", running)
                self._runtime.metrics.bundle_behind.set(1)
                if candidate == self._refused and self._for_good and not again:
                    return ReloadOutcome("unchanged", running)
                loop = asyncio.get_running_loop()
                engine = await loop.run_in_executor(self._loader, self._prepare, candidate)
                await self._runtime.replace(engine)
            except Exception as error:
                return self._refuse(candidate, running, error)
            self._served()
            LOGGER.info("swapped", bundle_version=candidate, before=running)
            return ReloadOutcome("swapped", candidate)

    def _served(self) -> None:
        self._refused = self.refusal = None
        self._runtime.metrics.bundle_behind.set(0)

    def _refuse(self, candidate: str | None, running: str, error: Exception) -> ReloadOutcome:
        reason = next((name for kind, name in REASONS if isinstance(error, kind)), "error")
        # An unavailable store may come back; a damaged bundle does not mend itself.
        self._for_good = reason in ("damaged", "memory")
        sentence = f"{candidate}: {error!r}" if reason == "error" else str(error) or repr(error)
        if candidate != self._refused or sentence != self.refusal:
            defect = error if reason == "error" else None
            LOGGER.error(
                "bundle_refused", bundle_version=candidate, reason=sentence, exc_info=defect
            )
        self._runtime.metrics.bundles_refused.labels(reason).inc()
        self._runtime.metrics.bundle_behind.set(1)
        self._refused, self.refusal = candidate, sentence
        return ReloadOutcome("refused", running, refusal(candidate or "CURRENT", reason))

    def _prepare(self, version: str) -> Engine:
        check_memory(self.store, version)
        engine = self._load(version)
        users = [engine.bundle.users.get(user) for user in self._runtime.recent_users(WARM_USERS)]
        rows = np.array([row for row in users if row is not None], np.int32)
        if len(rows):
            seen = [engine.bundle.seen.row(row) for row in rows.tolist()]
            engine.recommender.recommend(rows, 20, seen)
        return engine

    async def _follow(self) -> None:
        await self.look(again=False)


def refusal(version: str, reason: str) -> str:
    """The sentence for clients on a bundle that is refused.

    What the log has about it has paths and addresses of the store, which are nothing for them.
    """
    return f"{version}: cannot be served ({reason}); the log has the details"


def check_memory(store: BundleStore, version: str) -> None:
    """Raise MemoryError if a bundle does not fit into the free memory."""
    left = available_memory()
    needed = int(store.manifest(version).size * ROOM)
    if left is not None and needed > left:
        raise MemoryError(
            f"{version}: needs about {needed:,} bytes of memory, {left:,} are available"
        )


def give_way() -> None:
    """Give requests priority over loading where cores are short."""
    if sys.platform == "linux":  # elsewhere threads have no niceness of their own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOADER_NICENESS)
