"""OpenTelemetry traces, sent by OTLP over HTTP as the variables `OTEL_*` say.

A span for a request and one for each of its stages. FastAPI could make its own, but their
attributes hold paths and queries, which hold user ids; these have the route and never the path.

Imported when `--otel` asks for it: it needs the packages of `drepmrec[otel]`.
"""

import asyncio
import time
from threading import Thread
from typing import TYPE_CHECKING

from opentelemetry import propagate
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode, Tracer
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bundle.errors import InputError
from service.access import KEY_NAME
from service.logs import REQUEST_ID

if TYPE_CHECKING:
    from service.metrics import Stage

UNTRACED = ("/healthz", "/readyz", "/metrics")
"""What is asked every few seconds."""
CLOSING_SECONDS = 3.0
"""For the last spans, should the collector not answer."""


class Tracing:
    """Makes spans and sends them in the background; those that find its queue full are dropped.

    Raises:
        InputError: a variable makes no sense.
    """

    def __init__(self) -> None:
        resource = Resource.create()
        if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: "drepmrec"}))
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        try:
            self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        except ValueError as error:
            raise InputError(f"one of the variables OTEL_*: {error}") from error
        self.tracer: Tracer = self._provider.get_tracer("drepmrec")

    def stage(self, name: str, measured: "Stage") -> "Stage":
        """A stage whose measurements are spans, too."""
        return _TracedStage(name, measured, self.tracer)

    async def __aenter__(self) -> "Tracing":
        """Nothing is to be started."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Send what is left, for as long as that may take."""
        # Not a thread of the loop's pool: the process would wait for its end.
        closing = Thread(target=self.close, daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, CLOSING_SECONDS)

    def close(self) -> None:
        """Send what is left, however long it takes."""
        self._provider.shutdown()


class _TracedStage:
    """Made when the stage is over: it costs nobody anything who traces nothing."""

    def __init__(self, name: str, measured: "Stage", tracer: Tracer) -> None:
        self._name = name
        self._measured = measured
        self._tracer = tracer

    def observe(self, seconds: float) -> None:
        """Take down a stage that ends now."""
        self._measured.observe(seconds)
        end = time.time_ns()
        self._tracer.start_span(self._name, start_time=end - int(seconds * 1e9)).end(end)


class RequestSpans:
    """ASGI middleware: a span for each request, within the caller's trace if it names one."""

    def __init__(self, app: ASGIApp, tracer: Tracer) -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; other kinds of scope pass."""
        if scope["type"] != "http" or scope["path"] in UNTRACED:
            await self._app(scope, receive, send)
            return
        status = 0

        async def send_watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        headers = {str(name, "latin-1"): str(value, "latin-1") for name, value in scope["headers"]}
        with self._tracer.start_as_current_span(
            scope["method"],
            context=propagate.extract(headers),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": scope["method"], "url.scheme": scope["scheme"]},
            record_exception=False,  # its message may hold anything
            set_status_on_exception=False,
        ) as span:
            try:
                await self._app(scope, receive, send_watched)
            except BaseException as error:
                span.set_attribute("error.type", type(error).__qualname__)
                span.set_status(StatusCode.ERROR)
                raise
            finally:
                route = getattr(scope.get("route"), "path_format", None)
                if route is not None:
                    span.update_name(f"{scope['method']} {route}")
                    span.set_attribute("http.route", route)
                if status:
                    span.set_attribute("http.response.status_code", status)
                if status >= 500:
                    span.set_status(StatusCode.ERROR)
                span.set_attribute("drepmrec.request_id", REQUEST_ID.get() or "")
                span.set_attribute("drepmrec.key", scope.get(KEY_NAME, ""))
