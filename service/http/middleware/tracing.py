"""Request spans: an OpenTelemetry span for each request, with its route and never its path.

Imported only with `--otel`: it needs the packages of `drepmrec[otel]`.
"""

from opentelemetry import propagate
from opentelemetry.trace import SpanKind, StatusCode, Tracer
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.middleware.authentication import KEY_NAME
from service.http.parameters import PROBE_PATHS
from service.observability.logs import REQUEST_ID


class RequestSpans:
    """ASGI middleware: a span for each request, within the caller's trace if it names one.

    Args:
        app: the next layer.
        tracer: makes the spans.
    """

    def __init__(self, app: ASGIApp, tracer: Tracer) -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; other kinds of scope are passed on."""
        if scope["type"] != "http" or scope["path"] in PROBE_PATHS:  # no spans
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
            record_exception=False,  # its message may contain anything
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
