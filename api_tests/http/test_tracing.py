"""OpenTelemetry traces, as a collector receives them."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.paths import ROOT
from tests.support.running.api_keys import KEYS, authorization, entries
from tests.support.running.processes import free_port, only_line, run_service
from tests.support.running.proxies import constant_reply_server
from tests.support.running.service_fixtures import Published, StartService
from tests.support.waiting import wait_until

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collector:
    """An OTLP collector over HTTP that stores what it receives."""

    def __init__(self) -> None:
        self.received: list[tuple[str, bytes]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(handler) -> None:  # noqa: N805
                body = handler.rfile.read(int(handler.headers["content-length"]))
                self.received.append((handler.path, body))
                handler.send_response(200)
                handler.send_header("content-length", "0")
                handler.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def batches(self) -> list[Any]:
        """The spans received, by resource."""
        return [
            batch
            for _, body in self.received
            for batch in ExportTraceServiceRequest.FromString(body).resource_spans
        ]

    @property
    def spans(self) -> list[Any]:
        return [s for batch in self.batches for part in batch.scope_spans for s in part.spans]

    def named(self, name: str) -> list[Any]:
        return [span for span in self.spans if span.name == name]


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    one = Collector()
    monkeypatch.setenv(ENDPOINT, one.url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    yield one
    one.close()


def attributes(thing: Any) -> dict[str, Any]:
    return {
        pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in thing.attributes
    }


@pytest.mark.slow
def test_a_request_and_its_stages_are_spans(
    start: StartService, collector: Collector, published: Published, tmp_path: Path
) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text(entries("reader"))
    service = start(otel="true", keys=keys, log_level="debug")
    user = next(user for user in published.known if user.startswith("user-"))
    called = authorization("reader") | {
        "traceparent": f"00-{TRACE}-{PARENT}-01",
        "X-Request-ID": "mine",
    }
    before = time.time_ns()
    assert service.client.get(f"/recommend/{user}?k=3", headers=called).status_code == 200
    after = time.time_ns()
    assert (
        service.client.get(f"/recommend/{user}?k=0", headers=authorization("reader")).status_code
        == 422
    )
    assert service.client.get(f"/recommend/{user}").status_code == 401
    body = {"users": published.known[:5]}
    assert (
        service.client.post("/recommend", json=body, headers=authorization("reader")).status_code
        == 200
    )
    service.get("/healthz")
    assert service.terminate() == 0  # spans that wait are sent first
    stopped = time.time_ns()

    assert {path for path, _ in collector.received} == {"/v1/traces"}
    assert attributes(collector.batches[0].resource)["service.name"] == "drepmrec"
    first, wrong = collector.named("GET /recommend/{user_id}")
    assert (first.trace_id.hex(), first.parent_span_id.hex()) == (TRACE, PARENT)
    assert first.kind == first.SPAN_KIND_SERVER
    assert attributes(first) == {
        "http.request.method": "GET",
        "url.scheme": "http",
        "http.route": "/recommend/{user_id}",
        "http.response.status_code": 200,
        "drepmrec.request_id": "mine",
        "drepmrec.key": "reader",
    }
    stages = [span for span in collector.spans if span.parent_span_id == first.span_id]
    assert [stage.name for stage in stages] == ["state", "vector", "search", "serialisation"]
    assert before <= first.start_time_unix_nano <= after
    assert first.start_time_unix_nano < first.end_time_unix_nano < stopped
    # A stage is measured by another clock; between reading both, other processes may run.
    clocks = 500_000_000
    for stage in stages:
        assert stage.trace_id == first.trace_id
        assert stage.start_time_unix_nano >= first.start_time_unix_nano - clocks
        assert stage.start_time_unix_nano <= stage.end_time_unix_nano
        assert stage.end_time_unix_nano <= first.end_time_unix_nano + clocks
    assert attributes(wrong)["http.response.status_code"] == 422
    assert wrong.trace_id != first.trace_id
    (refused,) = collector.named("GET")
    assert attributes(refused)["http.response.status_code"] == 401
    (many,) = collector.named("POST /recommend")
    below = [span.name for span in collector.spans if span.parent_span_id == many.span_id]
    assert sorted(below) == sorted(["state", "vector", "search", "serialisation"] * 5)
    assert not [span for span in collector.spans if "healthz" in str(attributes(span))]
    everything = b"".join(body for _, body in collector.received)
    assert user.encode() not in everything
    assert KEYS["reader"].encode() not in everything + service.log.read_bytes()


@pytest.mark.slow
def test_the_variables_of_opentelemetry_are_honoured(
    start: StartService, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop-window")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
    service = start(otel="true", workers=2)
    wait_until(lambda: len(service.events("serving")) == 2, "both workers")
    service.get("/recommend/user-1")
    wait_until(lambda: collector.named("GET /recommend/{user_id}"), "a span, while it runs")
    resource = attributes(collector.batches[0].resource)
    assert resource["service.name"] == "shop-window"
    assert resource["deployment.environment"] == "test"

    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    collector.received.clear()
    service = start(otel="true")
    assert service.get("/recommend/user-1").status_code == 200
    assert service.terminate() == 0
    assert not collector.received


@pytest.mark.slow
def test_nothing_is_sent_by_default(
    start: StartService, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")  # its spans hold paths
    service = start()
    assert service.get("/recommend/user-1").status_code == 200
    assert service.terminate() == 0
    assert not collector.received
    check = "import sys, service.server; print('opentelemetry.exporter' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dead", "hanging"])
def test_a_failing_collector_delays_no_request(
    start: StartService, monkeypatch: pytest.MonkeyPatch, published: Published, kind: str
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "600")  # s, for which nothing may wait
    with constant_reply_server(b"") as port:
        monkeypatch.setenv(ENDPOINT, f"http://127.0.0.1:{free_port() if kind == 'dead' else port}")
        service = start(otel="true")
        for user in [user for user in published.known if user.startswith("user-")][:200]:
            started = time.monotonic()
            published.check(service.get(f"/recommend/{user}").json())
            assert time.monotonic() - started < 60
        started = time.monotonic()
        assert service.terminate() == 0
        assert time.monotonic() - started < 60


def test_without_the_packages_of_the_extra_the_service_says_so(tmp_path: Path) -> None:
    (tmp_path / "opentelemetry" / "exporter").mkdir(parents=True)
    (tmp_path / "opentelemetry" / "exporter" / "__init__.py").touch()  # hides the real one
    path = f"{tmp_path}:{ROOT}"
    code, output = run_service("--store", "x", "--otel", "true", PYTHONPATH=path)
    assert code == 2
    assert "--otel (DREPMREC_OTEL): " in only_line(output)
    assert "pip install 'drepmrec[otel]'" in output


@pytest.mark.slow
def test_a_variable_with_a_wrong_value_is_refused(published: Published) -> None:
    for workers in ("1", "2"):
        options = ("--store", str(published.store), "--port", "0", "--workers", workers)
        code, output = run_service(*options, "--otel", "true", OTEL_BSP_MAX_QUEUE_SIZE="-5")
        assert code == 2
        assert "OTEL_*: max_queue_size" in only_line(output)
