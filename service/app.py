"""The application: its resources, its layers, its lifespan."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import FastAPI

from bundle.format.reader import Bundle
from service.api import (
    admin,
    audience,
    bundles,
    docs,
    events,
    items,
    pictures,
    recommend,
    similar,
    studio,
    users,
)
from service.api.openapi_security import TAGS, describe_access
from service.auth.key_store import KeyStore
from service.http.error_handlers import handle_errors
from service.http.fast_route import FastRoute
from service.http.stack import LayeredFastAPI, build_stack
from service.lifespan import open_runtime
from service.observability.metrics import Metrics
from service.settings import Settings

API_VERSION = "1"
DESCRIPTION = """Recommendations from a DRepMRec bundle.

Every error has the shape of `ErrorBody`: also unknown paths (404), wrong methods (405) and what is
not valid HTTP (400, 408, 431). HEAD is answered wherever GET is. Bodies may be compressed with gzip
or deflate.
Every response has an `X-Request-ID`: that of the request if it has a valid one."""
RESOURCES = (recommend, similar, items, pictures, audience, events, users, admin, bundles)
"""Modules with the endpoints, each as `router`."""


def create_app(settings: Settings, bundle: Bundle | None = None) -> FastAPI:
    """The application; its lifespan opens and closes whatever it needs.

    Args:
        settings: the configuration.
        bundle: a bundle that is open already; by default the store's live one is loaded.

    The lifespan raises what `BundleStore.load` raises.

    Raises:
        KeyFileError: the file of API keys is invalid.
    """
    tracing = None
    if settings.otel:
        from service.observability.tracing import Tracing  # its packages are an extra

        tracing = Tracing()
    metrics = Metrics(tracing.stage if tracing else None)
    keys = KeyStore(settings.keys, metrics) if settings.keys else None

    # The lifespan takes it out, so that nothing keeps a bundle that a reload replaces.
    given = [bundle]
    del bundle

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with AsyncExitStack() as stack:
            for part in (tracing, keys):
                if part is not None:
                    await stack.enter_async_context(part)
            runtime, reloader, beside = await stack.enter_async_context(
                open_runtime(settings, metrics, given.pop())
            )
            app.state.runtime, app.state.reloader, app.state.beside = runtime, reloader, beside
            limiter = runtime.limiter
            del runtime, reloader, beside
            yield {"limiter": limiter, "metrics": metrics}

    app = LayeredFastAPI(
        title="DRepMRec",
        version=API_VERSION,
        description=DESCRIPTION,
        openapi_tags=TAGS,
        lifespan=lifespan,
        # `/recommend` without an id is an unknown path, not a redirect to `/recommend/`.
        redirect_slashes=False,
        openapi_url="/openapi.json" if settings.docs else None,
        docs_url=None,  # FastAPI's pages load scripts from the internet
        redoc_url=None,
        # FastAPI's own traces contain paths, and so user ids; looking for a provider takes time in
        # each request.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    for resource in RESOURCES:
        app.router.routes += resource.router.routes
    if settings.docs:
        app.include_router(docs.router)
    if settings.studio:
        app.include_router(studio.router)
    fast_routes = [route for route in app.routes if isinstance(route, FastRoute)]
    app.add_layers(build_stack(settings, metrics, fast_routes, keys, tracing))
    handle_errors(app)
    describe_access(app, settings)
    return app
