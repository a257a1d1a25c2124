"""What every request passes on its way to its endpoint."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from service.access import Access
from service.body_limit import BodyLimit
from service.deadline import Deadline
from service.key_ring import KeyRing
from service.lean_route import LeanDispatch, LeanFastAPI, LeanRoute
from service.metrics import Metrics
from service.request_scope import RequestScope
from service.settings import Settings

if TYPE_CHECKING:
    from service.tracing import Tracing


def add_middleware(
    app: LeanFastAPI,
    settings: Settings,
    metrics: Metrics,
    lean: Sequence[LeanRoute],
    keys: KeyRing | None,
    tracing: "Tracing | None",
) -> None:
    """Add it to an application and to its lean routes; what is not configured is not there."""
    app.add_middleware(BodyLimit, limit=settings.max_body)  # lean requests have no body
    app.lean, app.lean_prefixes = LeanDispatch(lean), tuple(route.prefix for route in lean)
    for kind, options in _layers(settings, metrics, keys, tracing):
        app.add_middleware(kind, **options)
        app.lean = kind(app.lean, **options)


def _layers(
    settings: Settings, metrics: Metrics, keys: KeyRing | None, tracing: "Tracing | None"
) -> Iterator[tuple[Callable[..., ASGIApp], dict[str, Any]]]:
    """From the inside out."""
    yield Deadline, {"seconds": settings.request_timeout}
    if keys is not None:
        yield Access, {"keys": keys, "metrics": metrics, "open_metrics": settings.open_metrics}
    if settings.cors_origins:
        # Outside of `Access`: a browser asks whether it may call before it shows a key.
        yield (
            CORSMiddleware,
            {
                "allow_origins": settings.cors_origins,
                "allow_methods": ["GET", "POST", "PUT", "DELETE"],
                "allow_headers": ["Authorization", "X-API-Key", "X-Request-ID"],
                "expose_headers": ["X-Request-ID", "Retry-After"],
            },
        )
    if tracing is not None:
        from service.tracing import RequestSpans

        yield RequestSpans, {"tracer": tracing.tracer}
    yield RequestScope, {"metrics": metrics, "log_requests": settings.log_level == "debug"}
