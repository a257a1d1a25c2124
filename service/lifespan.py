"""Lifespan: checks before the start, parts that are opened at the start and closed at the end."""

import gc
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager

import faiss

from bundle.catalogue.catalogue import Catalogue
from bundle.errors import InputError
from bundle.format.reader import Bundle
from bundle.json_file import read_json_file
from bundle.resources import thread_budget
from bundle.search.experiment import Experiment, why_unfit
from bundle.store.store import BundleStore
from service.auth.key_file import read_key_file
from service.engine.beside import BundleBeside
from service.engine.engine import Engine, build_engine
from service.engine.outcomes import OutcomeRecorder
from service.engine.reload import Reloader
from service.engine.runtime import Runtime
from service.engine.shadow import Shadow
from service.limiter import ConcurrencyLimiter
from service.observability.logs import LOGGER
from service.observability.metrics import Metrics
from service.settings import Settings
from service.state.change_feed import ChangeFeed
from service.state.factory import open_state, state_file
from service.state.sqlite import LocalState

GARBAGE = 20_000
"""Number of new objects after which garbage is collected. Hundreds of requests in progress have as
many; with Python's 700 they would be searched again and again, an eighth of the time."""


def check_parts(settings: Settings, store: BundleStore, bundle: Bundle) -> None:
    """Open each configured part once, so that an error is reported before anything is served.

    Args:
        settings: the configuration.
        store: the store.
        bundle: its live bundle.

    Raises:
        DRepMRecError: a part cannot be used; names the option or the file.
    """
    if settings.content_encoders:
        from service.engine.content import ContentEncoders  # its packages are an extra

        ContentEncoders(settings.content_encoders, threads=1).check(bundle)
    if settings.keys is not None:
        read_key_file(settings.keys)
    if settings.otel:
        from service.observability.tracing import Tracing  # its packages are an extra

        Tracing().close()
    experiment = _experiment(settings)
    for version in _other_versions(settings, experiment):
        store.manifest(version)
    for arm in experiment.arms if experiment else ():
        options = arm.options
        if options.filter or options.weights or options.boost:
            version = arm.bundle_version or bundle.version
            answering = bundle if version == bundle.version else store.load(version)
            reason = why_unfit(arm, Catalogue(answering))
            if reason is not None:
                raise InputError(f"{settings.experiment}: {reason}")
    path = state_file(settings)
    if settings.redis_url is None and path is not None and (settings.state or path.exists()):
        LocalState(path, Metrics(), settings.state_timeout).close()


@asynccontextmanager
async def open_runtime(
    settings: Settings, metrics: Metrics, bundle: Bundle | None
) -> AsyncIterator[tuple[Runtime, Reloader, BundleBeside]]:
    """The runtime of a process, its reloader and the bundle beside, closed on exit.

    Args:
        settings: the configuration.
        metrics: of the process.
        bundle: the live bundle if it is open already; not kept beyond the first reload.

    Raises:
        StoreError, BundleError: there is no whole bundle to serve.
        StateError: the state that is configured, or exists, cannot be used.
    """
    threads = settings.threads or thread_budget(settings.workers)
    faiss.omp_set_num_threads(1)  # of the calling thread, as all settings of OpenMP
    async with AsyncExitStack() as stack:
        pool = stack.enter_context(
            ThreadPoolExecutor(threads, "search", faiss.omp_set_num_threads, (1,))
        )
        redis = None
        if settings.redis_url is not None:
            # A tenth of the time of all imports, only where it is needed.
            from service.redis.batched_reader import BatchedReader

            redis = await stack.enter_async_context(BatchedReader(settings, metrics))
        state = await stack.enter_async_context(open_state(settings, metrics, redis))
        feed = await stack.enter_async_context(ChangeFeed(state, settings.state_poll, metrics))
        store = BundleStore(settings.store, settings.cache)
        experiment = _experiment(settings)

        def build(bundle: Bundle) -> Engine:
            return build_engine(bundle, settings, metrics, redis, state, feed, pool)

        def load(version: str) -> Engine:
            return build(store.load(version, threads=threads))

        engine = build(bundle or store.load(threads=threads))
        del bundle
        content = None
        if settings.content_encoders:
            from service.engine.content import ContentEncoders  # its packages are an extra

            encoders = ContentEncoders(settings.content_encoders, threads)
            encoders.check(engine.bundle)
            content = await stack.enter_async_context(encoders)
        shadow = None
        if settings.shadow_version:
            shadow = Shadow(settings.shadow_version, settings.shadow_share, metrics)
        outcomes = None
        if settings.outcome_share:
            outcomes = await stack.enter_async_context(OutcomeRecorder(state, settings, metrics))
        runtime = Runtime(
            settings=settings,
            metrics=metrics,
            limiter=ConcurrencyLimiter(settings.max_concurrency, settings.max_wait, metrics.shed),
            threads=threads,
            pool=pool,
            redis=redis,
            state=state,
            feed=feed,
            engine=engine,
            others={
                version: engine if version == engine.bundle.version else load(version)
                for version in _other_versions(settings, experiment)
            },
            experiment=experiment,
            shadow=shadow,
            outcomes=outcomes,
            content=content,
        )
        async with feed.paused():
            await runtime.apply(feed.changed, ())
            feed.listen(runtime.apply)
        runtime.check_arms()
        reloader = Reloader(runtime, store, load, settings.reload_poll)
        await stack.enter_async_context(reloader)
        beside = await stack.enter_async_context(BundleBeside(runtime, store, load))
        version, manifest = engine.bundle.version, engine.bundle.manifest
        metrics.set_bundle(version, manifest.index.kind, manifest.created_at)
        del engine
        # Objects made so far stay. Excluding them from garbage collection saves a tenth of a
        # request's time.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GARBAGE)
        LOGGER.info("serving", bundle_version=version, threads=threads)
        yield runtime, reloader, beside
        LOGGER.info("stopped")


def _experiment(settings: Settings) -> Experiment | None:
    return read_json_file(settings.experiment, Experiment) if settings.experiment else None


def _other_versions(settings: Settings, experiment: Experiment | None) -> set[str]:
    """Versions to serve beside the live one."""
    arms = experiment.arms if experiment else []
    versions = {settings.shadow_version, *(arm.bundle_version for arm in arms)}
    return {version for version in versions if version is not None}
