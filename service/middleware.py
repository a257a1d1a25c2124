"""What every request passes on its way to its endpoint."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from service.access import Access
from service.body_limit import BodyLimit
from service.deadline import Deadline
from service.key_ring import KeyRing
from service.lean_route import LeanDispatch, LeanRoute
from service.metrics import Metrics
from service.request_scope import RequestScope
from service.settings import Settings

if TYPE_CHECKING:
    from service.tracing import Tracing


def add_middleware(
    app: FastAPI,
    settings: Settings,
    metrics: Metrics,
    lean: Sequence[LeanRoute],
    keys: KeyRing | None,
    tracing: "Tracing | None",
) -> None:
    """Add it to an application, from the inside out; what is not configured is not there."""
    app.add_middleware(LeanDispatch, routes=lean)
    app.add_middleware(BodyLimit, limit=settings.max_body)
    app.add_middleware(Deadline, seconds=settings.request_timeout)
    if keys is not None:
        app.add_middleware(Access, keys=keys, metrics=metrics, open_metrics=settings.open_metrics)
    if settings.cors_origins:
        # Outside of `Access`: a browser asks whether it may call before it shows a key.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["Authorization", "X-API-Key", "X-Request-ID"],
            expose_headers=["X-Request-ID", "Retry-After"],
        )
    if tracing is not None:
        from service.tracing import RequestSpans

        app.add_middleware(RequestSpans, tracer=tracing.tracer)
    log_requests = settings.log_level == "debug"
    app.add_middleware(RequestScope, metrics=metrics, log_requests=log_requests)
