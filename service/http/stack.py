"""The middleware stack: every layer that a request passes on its way to its endpoint."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.auth.key_store import KeyStore
from service.http.fast_route import FastDispatch, FastRoute
from service.http.middleware.authentication import Authentication
from service.http.middleware.cors import Cors
from service.http.middleware.request_body import RequestBody
from service.http.middleware.request_context import RequestContext
from service.http.middleware.timeout import RequestTimeout
from service.observability.metrics import Metrics
from service.settings import Settings

if TYPE_CHECKING:
    from service.observability.tracing import Tracing


def build_stack(
    settings: Settings,
    metrics: Metrics,
    fast_routes: Sequence[FastRoute],
    keys: KeyStore | None,
    tracing: "Tracing | None",
) -> Iterator[Middleware]:
    """The layers from the inside out; those that are not configured are absent.

    Requests for fast routes end at `FastDispatch`, all others continue to FastAPI's own routing.

    Args:
        settings: the configuration.
        metrics: of all requests.
        fast_routes: the routes that `FastDispatch` answers.
        keys: the API keys; None lets everybody in.
        tracing: the tracer; None traces nothing.
    """
    yield Middleware(RequestBody, limit=settings.max_body)  # fast routes have no body
    yield Middleware(FastDispatch, routes=fast_routes)
    yield Middleware(RequestTimeout, seconds=settings.request_timeout)
    if keys is not None:
        yield Middleware(
            Authentication, keys=keys, metrics=metrics, open_metrics=settings.open_metrics
        )
    if settings.cors_origins:
        # Outside of `Authentication`: a browser's preflight request has no key.
        yield Middleware(
            Cors,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "HEAD", "POST", "PUT", "DELETE"],
            allow_headers=["Authorization", "Content-Encoding", "X-API-Key", "X-Request-ID"],
            expose_headers=["X-Request-ID", "Retry-After"],
        )
    if tracing is not None:
        from service.http.middleware.tracing import RequestSpans  # its packages are an extra

        yield Middleware(RequestSpans, tracer=tracing.tracer)
    yield Middleware(RequestContext, metrics=metrics, log_requests=settings.log_level == "debug")


class LayeredFastAPI(FastAPI):
    """FastAPI application with the layers around all of it, and not between its own.

    A fast request then passes none of FastAPI's own layers, which would add about a twentieth to
    its time. HEAD is answered as GET, without the body.
    """

    _outermost: ASGIApp

    def add_layers(self, layers: Iterable[Middleware]) -> None:
        """Set the layers, from the inside out."""
        app: ASGIApp = super().__call__
        for layer in layers:
            app = layer.cls(app, *layer.args, **layer.kwargs)
        self._outermost = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, or the lifespan."""
        scope["app"] = self
        if scope.get("method") == "HEAD":
            # A copy: the server knows by its own that a length comes without a body.
            await self._outermost({**scope, "method": "GET"}, receive, _without_body(send))
        else:
            await self._outermost(scope, receive, send)


def _without_body(send: Send) -> Send:
    async def send_head(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return send_head
