"""OpenTelemetry traces, sent by OTLP over HTTP as the environment variables `OTEL_*` say.

There is a span for each request (`service.http.middleware.tracing`) and one for each of its stages.
FastAPI's own spans are off: their attributes contain paths and queries, and so user ids.

Imported only with `--otel`: it needs the packages of `drepmrec[otel]`.
"""

import asyncio
import time
from threading import Thread
from typing import TYPE_CHECKING

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Tracer

from bundle.errors import InputError

if TYPE_CHECKING:
    from service.observability.metrics import Stage

CLOSING_SECONDS = 3.0
"""Time to send the last spans when the service stops, in seconds; a collector may be down."""


class Tracing:
    """Tracer that sends spans in the background and drops those for which its queue is full.

    Raises:
        InputError: an environment variable is invalid; the message names them.
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
        """A stage whose measurements are also sent as spans."""
        return _TracedStage(name, measured, self.tracer)

    async def __aenter__(self) -> "Tracing":
        """Start nothing: the exporter runs already."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Send the remaining spans, for CLOSING_SECONDS at most."""
        # Not in the loop's thread pool: the process would wait for it to finish.
        closing = Thread(target=self.close, daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, CLOSING_SECONDS)

    def close(self) -> None:
        """Send the remaining spans, however long it takes."""
        self._provider.shutdown()


class _TracedStage:
    """A stage that makes its span when it ends, so that it costs nothing without tracing."""

    def __init__(self, name: str, measured: "Stage", tracer: Tracer) -> None:
        self._name = name
        self._measured = measured
        self._tracer = tracer

    def observe(self, seconds: float) -> None:
        """Record a stage that ends now."""
        self._measured.observe(seconds)
        end = time.time_ns()
        self._tracer.start_span(self._name, start_time=end - int(seconds * 1e9)).end(end)
