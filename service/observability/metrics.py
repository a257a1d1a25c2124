"""Prometheus metrics of all workers.

With several workers, each writes its numbers to files in the directory PROMETHEUS_MULTIPROC_DIR,
and the worker that answers `/metrics` adds them up.
"""

import os
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from time import time
from typing import Protocol, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from service.observability.outcomes import OutcomeMetrics
from service.types import FallbackReason

MULTIPROC_DIR = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable with the directory that workers share."""
REQUEST_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Bucket bounds of the time of a request, in seconds."""
STAGE_BUCKETS = (0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.25)
"""Bucket bounds of the time of a stage, in seconds."""


class Stage(Protocol):
    """A stage of requests, whose time is measured."""

    def observe(self, seconds: float) -> None:
        """Record a stage that ends now."""


class Unmeasured:
    """Metrics that keep nothing: each, and whatever is asked of it, is this object again."""

    def __getattr__(self, _: str) -> "Unmeasured":
        return self

    def __getitem__(self, _: str) -> "Unmeasured":
        return self

    def __call__(self, *_: object) -> "Unmeasured":
        return self


class Metrics:
    """The metrics of one process. Labels of the hot path are looked up once.

    Args:
        traced: makes a traced stage from a stage, by its name; by default none is traced.
    """

    def __init__(self, traced: Callable[[str, Stage], Stage] | None = None) -> None:
        self.registry = CollectorRegistry()
        self._several_processes = MULTIPROC_DIR in os.environ
        if not self._several_processes:
            ProcessCollector(registry=self.registry)
        self._requests = self._histogram(
            "request_seconds",
            "Requests by endpoint and status.",
            ["endpoint", "status"],
            REQUEST_BUCKETS,
        )
        self._request_children: dict[tuple[str, int], Histogram] = {}
        self._in_flight = self._gauge(
            "requests_in_flight", "Requests in progress or waiting for their turn.", "livesum"
        )
        self._in_work = 0
        if not self._several_processes:
            self._in_flight.set_function(lambda: self._in_work)
        self.refused = self._counter(
            "requests_refused_total",
            "Requests refused because of their API key, by its name and reason.",
            ["key", "reason"],
        )
        self.key_files_refused = self._counter(
            "key_files_refused_total", "Invalid new key files; the previous keys stay."
        )
        self.shed = self._counter(
            "requests_shed_total", "Requests refused because of the concurrency limit."
        )
        stages = self._histogram("stage_seconds", "Stages of a request.", ["stage"], STAGE_BUCKETS)

        def stage(name: str) -> Stage:
            measured: Histogram = stages.labels(name)
            return traced(name, measured) if traced else measured

        self.state_seconds = stage("state")
        self.vector_seconds = stage("vector")
        self.search_seconds = stage("search")
        self.serialisation_seconds = stage("serialisation")
        self._lookups = self._counter(
            "vector_lookups_total", "Look-ups of user vectors.", ["layer", "result"]
        )
        self.local_hit: Counter = self._lookups.labels("local", "hit")
        self.local_miss: Counter = self._lookups.labels("local", "miss")
        self.redis_lookups: dict[str, Counter] = {
            result: self._lookups.labels("redis", result)
            for result in ("hit", "miss", "failed", "skipped")
        }
        self._fallbacks = self._counter(
            "fallbacks_total", "Responses with popular items, by reason.", ["reason"]
        )
        self.fallbacks: dict[str, Counter] = {
            reason: self._fallbacks.labels(reason) for reason in get_args(FallbackReason)
        }
        self.redis_errors = self._counter(
            "redis_errors_total", "Failed operations on Redis, by kind.", ["kind"]
        )
        self.redis_writes = self._counter(
            "redis_writes_total", "User vectors to write to Redis, by result.", ["result"]
        )
        self.state_failures = self._counter(
            "state_failures_total", "Failed reads and writes of the state.", ["operation"]
        )
        self.events = self._counter("events_total", "Events, by result.", ["result"])
        self.item_changes = self._counter(
            "item_changes_total", "Items changed or deleted by this worker.", ["change"]
        )
        self.items_live = self._gauge(
            "items_live",
            "Items that differ from the bundle, and those whose change does not fit it.",
            "livemax",
            ["change"],
        )
        self._exposures = self._counter(
            "experiment_exposures_total", "Responses by experiment and arm.", ["experiment", "arm"]
        )
        self.arms_suspended = self._gauge(
            "experiment_arm_suspended",
            "1 while an arm's options do not fit its bundle; its users are in no arm.",
            "livemax",
            ["experiment", "arm"],
        )
        self.outcomes = OutcomeMetrics(self._counter)
        self.shadow_overlap = self._histogram(
            "shadow_overlap",
            "Share of served items that the shadow also returns.",
            [],
            [n / 10 for n in range(11)],
        )
        self.shadow_seconds = self._histogram(
            "shadow_seconds", "Time of the shadow's responses.", [], STAGE_BUCKETS
        )
        self.shadow_failures = self._counter(
            "shadow_failures_total", "Requests that the shadow failed to answer."
        )
        self.recall_monitor = self._gauge(
            "live_recall", "Mean recall of sampled searches against exact search.", "livemin"
        )
        self.recall_samples = self._counter(
            "live_recall_samples_total", "Searches compared with exact search."
        )
        self.swaps = self._counter("bundle_swaps_total", "Bundles that replaced the previous one.")
        self.bundles_refused = self._counter(
            "bundles_refused_total", "Bundles that this worker refused to serve.", ["reason"]
        )
        self.bundle_behind = self._gauge(
            "bundle_behind",
            "1 while the store names another bundle than the running one, or cannot be read.",
            "livemax",
        )
        self.background_failures = self._counter(
            "background_failures_total", "Rounds of background work that failed.", ["work"]
        )
        self.background_due = self._gauge(
            "background_due_seconds",
            "When the next round of background work is due, since 1970; the earliest of all.",
            "livemin",
            ["work"],
        )
        self.breaker_state = self._gauge(
            "redis_breaker_state",
            "0 closed, 1 half open, 2 open; maximum over the workers.",
            "livemax",
        )
        self.degraded = self._gauge(
            "degraded", "1 while Redis is configured and its circuit breaker is open.", "livemax"
        )
        self._bundle = self._gauge(
            "bundle_info", "1 for the running bundle.", "livemax", ["version", "index"]
        )
        self._bundle_age = self._gauge(
            "bundle_age_seconds", "Age of the running bundle.", "livemostrecent"
        )
        self._running: tuple[tuple[str, str], datetime] | None = None

    def in_work(self, change: int) -> None:
        """Count a request that starts (1) or ends (-1)."""
        self._in_work += change
        if self._several_processes:  # other workers read it; otherwise it is read on request
            self._in_flight.set(self._in_work)

    def observe_request(self, endpoint: str, status: int, seconds: float) -> None:
        """Record one answered request."""
        child = self._request_children.get((endpoint, status))
        if child is None:
            child = self._requests.labels(endpoint, str(status))
            self._request_children[endpoint, status] = child
        child.observe(seconds)

    def expose(self, experiment: str, arm: str) -> None:
        """Count one response of an experiment's arm."""
        self._exposures.labels(experiment, arm).inc()

    def set_bundle(self, version: str, index: str, created_at: datetime) -> None:
        """Set the running bundle."""
        if self._running is not None:
            self._bundle.labels(*self._running[0]).set(0)
        self._running = (version, index), created_at
        self._bundle.labels(version, index).set(1)

    def render(self) -> bytes:
        """The text that Prometheus scrapes."""
        if self._running is not None:
            self._bundle_age.set(time() - self._running[1].timestamp())
        if not self._several_processes:
            return generate_latest(self.registry)
        _forget_dead_workers(Path(os.environ[MULTIPROC_DIR]))
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]  # it has no hints
        return generate_latest(together)

    def _counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Counter:
        return Counter(f"drepmrec_{name}", text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, labels: Sequence[str], buckets: Sequence[float]
    ) -> Histogram:
        return Histogram(f"drepmrec_{name}", text, labels, registry=self.registry, buckets=buckets)

    def _gauge(self, name: str, text: str, together: str, labels: Sequence[str] = ()) -> Gauge:
        return Gauge(
            f"drepmrec_{name}",
            text,
            labels,
            registry=self.registry,
            multiprocess_mode=together,  # type: ignore[arg-type]  # its Literal is not public
        )


def _forget_dead_workers(directory: Path) -> None:
    """Remove the gauges of killed workers, which could not do it themselves."""
    for path in directory.glob("gauge_live*_*.db"):
        pid = int(path.stem.rpartition("_")[2])
        if not Path(f"/proc/{pid}").exists():
            mark_process_dead(pid, str(directory))  # type: ignore[no-untyped-call]  # no hints
