"""A bundle beside the served one, loaded on request to compare the two."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from bundle.errors import BundleError, StoreError
from bundle.store.store import BundleStore
from service.engine.engine import Engine
from service.engine.reload import check_memory, give_way, refusal
from service.engine.runtime import Runtime
from service.errors import BundleRefusedError, StoreUnavailableError, UnknownBundleError
from service.observability.logs import LOGGER

KEPT = 600.0
"""Time after its last use for which the bundle stays in memory, in seconds."""


class BundleBeside:
    """Engines of the store's other bundles, one at a time; `async with` it.

    Args:
        runtime: has the engines that are loaded anyway, and takes in this one, so that changes of
            items reach it.
        store: the store.
        load: builds the engine of a version; called in a thread.
    """

    def __init__(self, runtime: Runtime, store: BundleStore, load: Callable[[str], Engine]) -> None:
        self._runtime = runtime
        self._store = store
        self._load = load
        self._version: str | None = None
        self._one_at_a_time = asyncio.Lock()
        self._loader = ThreadPoolExecutor(1, "beside", initializer=give_way)
        self._forgetting: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> "BundleBeside":
        """Nothing is loaded before it is asked for."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Drop the bundle."""
        self._forget()
        self._loader.shutdown()

    async def engine(self, version: str) -> Engine:
        """The engine of a bundle; a caller that gives up does not end its loading.

        Raises:
            UnknownBundleError: the store has no such bundle.
            BundleRefusedError: it is damaged, or does not fit into memory.
            StoreUnavailableError: the store cannot be read.
        """
        return await asyncio.shield(asyncio.ensure_future(self._engine(version)))

    async def _engine(self, version: str) -> Engine:
        async with self._one_at_a_time:
            runtime = self._runtime
            if version == runtime.engine.bundle.version:
                return runtime.engine
            if version not in runtime.others:
                self._forget()
                await runtime.add(await self._loaded(version))
                self._version = version
            if version == self._version:
                self._keep()
            return runtime.others[version]

    async def _loaded(self, version: str) -> Engine:
        def load() -> Engine:
            if not self._store.storage.has(version):
                raise UnknownBundleError(version)
            check_memory(self._store, version)
            return self._load(version)

        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._loader, load)
        except (BundleError, MemoryError) as error:
            kind = "damaged" if isinstance(error, BundleError) else "memory"
            LOGGER.error("bundle_refused", bundle_version=version, reason=str(error))
            raise BundleRefusedError(refusal(version, kind)) from error
        except StoreError as error:
            LOGGER.warning("store_failed", reason=str(error))
            raise StoreUnavailableError("the store cannot be read") from error

    def _keep(self) -> None:
        if self._forgetting is not None:
            self._forgetting.cancel()
        self._forgetting = asyncio.get_running_loop().call_later(KEPT, self._forget)

    def _forget(self) -> None:
        if self._version is not None:
            self._runtime.others.pop(self._version, None)
            self._version = None
        if self._forgetting is not None:
            self._forgetting.cancel()
            self._forgetting = None
