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
from service.body_limit import BodyLimit
from service.browse import browse_router
from service.cpu import thread_budget
from service.errors import handle_errors
from service.logs import LOGGER
from service.many import add_many
from service.metrics import Metrics
from service.operations import operations_router
from service.permits import Permits
from service.recommend import add_recommending
from service.redis_link import RedisLink
from service.request_scope import RequestScope
from service.serving import Service, prepare_serving
from service.session import add_sessions
from service.settings import Settings

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
    """
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with _running_service(settings, metrics, bundle) as service:
            app.state.service = service
            yield

    app = FastAPI(
        title="DRepMRec",
        version=API_VERSION,
        description=DESCRIPTION,
        lifespan=lifespan,
        # `/recommend` without an id is an unknown path, not a detour to `/recommend/`.
        redirect_slashes=False,
        generate_unique_id_function=_operation_id,
    )
    log_requests = settings.log_level == "debug"
    app.add_middleware(BodyLimit, limit=settings.max_body)
    app.add_middleware(RequestScope, metrics=metrics, log_requests=log_requests)
    handle_errors(app)
    add_recommending(app)
    add_many(app)
    add_sessions(app)
    app.include_router(operations_router())
    if settings.pictures is not None:
        app.include_router(browse_router(settings.pictures))
    return app


def _operation_id(route: APIRoute) -> str:
    """Clients generated from the schema get `recommend()`, as nothing else has that name."""
    return route.name


@asynccontextmanager
async def _running_service(
    settings: Settings, metrics: Metrics, bundle: Bundle | None
) -> AsyncIterator[Service]:
    threads = settings.threads or thread_budget(settings.workers)
    faiss.omp_set_num_threads(1)  # of the calling thread, as all of OpenMP's settings
    async with AsyncExitStack() as stack:
        pool = stack.enter_context(
            ThreadPoolExecutor(threads, "search", faiss.omp_set_num_threads, (1,))
        )
        redis: RedisLink | None = None
        if settings.redis_url is not None:
            url = settings.redis_url.get_secret_value()
            redis = await stack.enter_async_context(RedisLink(url, settings, metrics))
        if bundle is None:
            bundle = BundleStore(settings.store).load(threads=threads)
        service = Service(
            settings=settings,
            metrics=metrics,
            permits=Permits(settings.max_concurrency, metrics.shed),
            threads=threads,
            pool=pool,
            redis=redis,
            serving=prepare_serving(bundle, settings, metrics, redis, pool),
        )
        manifest = bundle.manifest
        metrics.set_bundle(bundle.version, manifest.index.kind, manifest.created_at)
        # What is there now stays. Not looking through it again and again for garbage saves a tenth
        # of a request's time.
        gc.collect()
        gc.freeze()
        LOGGER.info("serving", bundle_version=bundle.version, threads=threads)
        yield service
        LOGGER.info("stopped")
