"""The application factory."""

import gc
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager

import faiss
from fastapi import FastAPI
from fastapi.routing import APIRoute

from bundle.loading import Bundle
from bundle.store import BundleStore
from service.browse import browse_router
from service.cpu import thread_budget
from service.errors import handle_errors
from service.events import add_event_log
from service.experiments import Experiment, read_experiment
from service.feed import Feed
from service.items import add_item_changes
from service.key_ring import KeyRing
from service.lean_route import LeanFastAPI
from service.logs import LOGGER
from service.many import add_many
from service.metrics import Metrics
from service.middleware import add_middleware
from service.open_state import open_state
from service.operations import operations_router
from service.permits import Permits
from service.recommend import recommending_routes
from service.running import Service
from service.security_schema import describe_access
from service.serving import Serving, prepare_serving
from service.session import add_sessions
from service.settings import Settings
from service.shadow import Shadow
from service.swap import Swapper
from service.users import add_users

API_VERSION = "1"
DESCRIPTION = """Recommendations from a DRepMRec bundle.

Every error has the shape of `ErrorBody`, unknown paths (404) and wrong methods (405) included.
Every response has an `X-Request-ID`: the one of the request, if it sent a sane one."""


def create_app(settings: Settings, bundle: Bundle | None = None) -> FastAPI:
    """The application; it opens and closes what it needs in its lifespan.

    Args:
        settings: the configuration.
        bundle: an open bundle, to save opening it twice; by default the store's live one.

    The lifespan raises what `BundleStore.load` raises.

    Raises:
        KeyFileError: the file of API keys does not fit.
    """
    tracing = None
    if settings.otel:
        # Its packages are an extra.
        from service.tracing import Tracing

        tracing = Tracing()
    metrics = Metrics(tracing.stage if tracing else None)
    keys = KeyRing(settings.keys, metrics) if settings.keys else None

    # Taken out by the lifespan, so that nothing keeps a bundle that is replaced later.
    bundles = [bundle]
    del bundle

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for part in (tracing, keys):
                if part is not None:
                    await stack.enter_async_context(part)
            running = _running_service(app, settings, metrics, bundles)
            app.state.service = await stack.enter_async_context(running)
            yield

    app = LeanFastAPI(
        title="DRepMRec",
        version=API_VERSION,
        description=DESCRIPTION,
        lifespan=lifespan,
        # `/recommend` without an id is an unknown path, not a detour to `/recommend/`.
        redirect_slashes=False,
        generate_unique_id_function=_operation_id,
        openapi_url="/openapi.json" if settings.docs else None,  # without it there are no /docs
        # FastAPI's own traces hold paths, which hold user ids; and looking for a provider costs
        # each request something.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    lean = recommending_routes()
    add_middleware(app, settings, metrics, lean, keys, tracing)
    handle_errors(app)
    app.router.routes += lean
    add_many(app)
    add_sessions(app)
    add_event_log(app)
    add_item_changes(app)
    add_users(app)
    app.include_router(operations_router())
    if settings.pictures is not None:
        app.include_router(browse_router(settings.pictures))
    describe_access(app, settings)
    return app


def _operation_id(route: APIRoute) -> str:
    """Clients generated from the schema get `recommend()`, as nothing else has that name."""
    return route.name


def other_versions(settings: Settings, experiment: Experiment | None) -> set[str]:
    """Bundles to be served beside the live one."""
    arms = experiment.arms if experiment else []
    versions = {settings.shadow_version, *(arm.bundle_version for arm in arms)}
    return {version for version in versions if version is not None}


@asynccontextmanager
async def _running_service(
    app: FastAPI, settings: Settings, metrics: Metrics, bundles: list[Bundle | None]
) -> AsyncIterator[Service]:
    threads = settings.threads or thread_budget(settings.workers)
    faiss.omp_set_num_threads(1)  # of the calling thread, as all of OpenMP's settings
    async with AsyncExitStack() as stack:
        pool = stack.enter_context(
            ThreadPoolExecutor(threads, "search", faiss.omp_set_num_threads, (1,))
        )
        redis = None
        if settings.redis_url is not None:
            # A tenth of the time of all imports, for those alone who need it.
            from service.redis_link import RedisLink

            redis = await stack.enter_async_context(RedisLink(settings, metrics))
        state = await stack.enter_async_context(open_state(settings, redis))
        feed = await stack.enter_async_context(Feed(state, settings.state_poll, metrics))
        store = BundleStore(settings.store, settings.cache)
        experiment = read_experiment(settings.experiment) if settings.experiment else None

        def load(version: str) -> Serving:
            return prepare(store.load(version, threads=threads))

        def prepare(bundle: Bundle) -> Serving:
            return prepare_serving(bundle, settings, metrics, redis, state, feed, pool)

        serving = prepare(bundles.pop() or store.load(threads=threads))
        content = None
        if settings.content_encoders:
            from service.content import ContentEncoders  # its packages are an extra

            encoders = ContentEncoders(settings.content_encoders, threads)
            encoders.check(serving.bundle)
            content = await stack.enter_async_context(encoders)
        service = Service(
            settings=settings,
            metrics=metrics,
            permits=Permits(settings.max_concurrency, metrics.shed),
            threads=threads,
            pool=pool,
            redis=redis,
            state=state,
            feed=feed,
            serving=serving,
            others={
                version: serving if version == serving.bundle.version else load(version)
                for version in other_versions(settings, experiment)
            },
            experiment=experiment,
            shadow=Shadow(settings.shadow_version, settings.shadow_share, metrics)
            if settings.shadow_version
            else None,
            content=content,
        )
        async with feed.paused():
            await service.apply(feed.changed, ())
            feed.listen(service.apply)
        swapper = Swapper(service, store, load, settings.reload_poll)
        app.state.swapper = await stack.enter_async_context(swapper)
        version, manifest = serving.bundle.version, serving.bundle.manifest
        metrics.set_bundle(version, manifest.index.kind, manifest.created_at)
        del serving
        # What is there now stays. Not looking through it again and again for garbage saves a tenth
        # of a request's time.
        gc.collect()
        gc.freeze()
        LOGGER.info("serving", bundle_version=version, threads=threads)
        yield service
        LOGGER.info("stopped")
