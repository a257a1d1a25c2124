"""Work in the background goes on whatever it raises, and each failure is seen."""

import asyncio
import contextlib
import json
import re
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import time
from types import SimpleNamespace
from typing import Any

import pytest

from bundle.store.store import BundleStore
from service.auth import key_store
from service.auth.key_file import read_key_file
from service.auth.key_store import KeyStore
from service.engine import outcomes as engine_outcomes
from service.engine.outcomes import OutcomeRecorder
from service.engine.recall_monitor import RecallMonitor
from service.engine.reload import Reloader
from service.observability import background
from service.observability.background import BackgroundLoop
from service.observability.metrics import Metrics
from service.redaction import digest, new_key
from service.redis.batched_reader import BatchedReader
from service.redis.errors import RedisCallError
from service.settings import Settings
from service.state import sqlite
from service.state.sqlite import LocalState
from tests.support.data.bundles import publish
from tests.support.paths import ROOT
from tests.support.running.servers import PATIENT, RunningRedis
from tests.support.running.states import redis_backend
from tests.support.waiting import until

Cancelled = asyncio.CancelledError
ODD = [
    RuntimeError("can't start new thread"),
    RecursionError(),
    Cancelled(),
    KeyError("x"),
    MemoryError(),
]
"""Exceptions that no code expects. What a work waits for may be cancelled, too."""


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "PAUSE", 0.01)


def failures(metrics: Metrics, work: str) -> float | None:
    return metrics.registry.get_sample_value("drepmrec_background_failures_total", {"work": work})


def raising(errors: Sequence[BaseException], then: Callable[..., Any]) -> Callable[..., Any]:
    """A function that raises each of the errors once and then does what another does."""
    left = list(errors)

    def call(*arguments: Any, **options: Any) -> Any:
        if left:
            raise left.pop(0)
        return then(*arguments, **options)

    return call


def test_a_loop_survives_everything() -> None:
    metrics = Metrics()
    rounds: list[int] = []

    async def work() -> None:
        rounds.append(len(rounds))
        if rounds[-1] < len(ODD):
            raise ODD[rounds[-1]]

    async def run() -> None:
        loop = BackgroundLoop("odd", work, metrics, 0.01)
        assert failures(metrics, "odd") == 0
        await until(lambda: len(rounds) > len(ODD) + 2, "the rounds after the last failure")
        await loop.close()
        ended = len(rounds)
        await asyncio.sleep(0.1)
        assert len(rounds) == ended

    started = time()
    asyncio.run(run())
    assert failures(metrics, "odd") == len(ODD)
    due = metrics.registry.get_sample_value("drepmrec_background_due_seconds", {"work": "odd"})
    assert due is not None
    assert due > started


def test_work_that_fails_or_hangs_is_overdue() -> None:
    metrics = Metrics()

    async def hang() -> None:
        await asyncio.sleep(3600)

    async def run() -> None:
        loop = BackgroundLoop("hanging", hang, metrics, 0.01)
        await asyncio.sleep(0.1)
        await loop.close()

    asyncio.run(run())
    due = metrics.registry.get_sample_value("drepmrec_background_due_seconds", {"work": "hanging"})
    assert due is not None
    assert due < time()


async def reload(metrics: Metrics, tmp_path: Path) -> None:
    """The follower of the store's pointer; a refusal counts as one, not as a failure."""
    store = BundleStore(tmp_path)
    first, second = publish(store, 1), publish(store, 2)
    running = SimpleNamespace(bundle=SimpleNamespace(version=first))
    runtime: Any = SimpleNamespace(engine=running, metrics=metrics, recent_users=lambda _: [])

    async def replace(engine: Any) -> None:
        runtime.engine = engine

    def load(version: str) -> Any:
        return SimpleNamespace(bundle=SimpleNamespace(version=version, users={}))

    runtime.replace = replace
    errors = [error for error in ODD if not isinstance(error, MemoryError | Cancelled)]
    async with Reloader(runtime, store, raising(errors, load), 0.01) as reloader:
        await until(lambda: reloader.refusal is not None, "a refusal")
        await until(lambda: runtime.engine.bundle.version == second, "the swap")
        assert reloader.refusal is None
    refused = metrics.registry.get_sample_value
    assert refused("drepmrec_bundles_refused_total", {"reason": "error"}) == len(errors)


async def key_file(metrics: Metrics, tmp_path: Path) -> None:
    path, (old, new) = tmp_path / "keys.json", (new_key(), new_key())

    def write(key: str) -> None:
        entry = {"name": "a", "sha256": digest(key).hex(), "scopes": ["read"]}
        path.write_text(json.dumps([entry | {"requests_per_second": None}]))

    write(old)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_store, "POLL_SECONDS", 0.01)
        async with KeyStore(path, metrics) as keys:
            patch.setattr(key_store, "read_key_file", raising(ODD, read_key_file))
            path.unlink()
            write(new)
            await until(lambda: keys.find(new), "the new key")
            assert keys.find(old) is None


async def state_cleanup(metrics: Metrics, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite, "CLEANUP_SECONDS", 0.01)
        state = LocalState(tmp_path / "state.sqlite3", metrics, PATIENT["state_timeout"])
        state._write = raising(ODD, state._write)  # type: ignore[method-assign]
        async with state:
            await until(lambda: failures(metrics, "state_cleanup") == len(ODD), "the failures")
            await state.keep_pages("u", "token", b"{}", 0)

            def pages() -> int:
                return len(state._read("SELECT * FROM pages"))

            await until(lambda: not pages(), "the clean-up")


async def redis_writes(metrics: Metrics, server: RunningRedis) -> None:
    settings = redis_backend(server.url, breaker_reset=3600).settings
    async with BatchedReader(settings, metrics) as link:
        link._refusals = raising(ODD, link._refusals)  # type: ignore[method-assign]
        for n in range(len(ODD) + 1):
            link.write("SET", b"key-%d" % n, b"value")
            await until(lambda: not link._writes, "the write")
        await until(lambda: server.client.get(b"key-%d" % len(ODD)) == b"value", "the value")


async def redis_write_probe(metrics: Metrics, server: RunningRedis) -> None:
    settings = redis_backend(server.url, breaker_reset=0.01).settings
    async with BatchedReader(settings, metrics) as link:
        link._refusals = raising(ODD, link._refusals)  # type: ignore[method-assign]
        await until(lambda: failures(metrics, "redis_write_probe") == len(ODD), "the failures")
        server.client.config_set("maxmemory", 1)
        await until(lambda: link.refuses_writes, "the refusal")
        server.client.config_set("maxmemory", 0)
        await until(lambda: not link.refuses_writes, "a write")


async def redis_probe(metrics: Metrics, server: RunningRedis) -> None:
    settings = redis_backend(server.url, breaker_failures=1, breaker_reset=0.01).settings
    async with BatchedReader(settings, metrics) as link:
        link._breaker.probe = raising(ODD, link._breaker.probe)  # type: ignore[method-assign]
        server.kill()
        with contextlib.suppress(RedisCallError):
            await link.get(b"x")
        await until(lambda: failures(metrics, "redis_probe") == len(ODD), "the failures")
        server.start()
        await until(lambda: not link.degraded, "the connection")


async def recall_monitor(metrics: Metrics, _: object) -> None:
    errors = [error for error in ODD if isinstance(error, Exception)]
    recommender: Any = SimpleNamespace(
        is_indexed=lambda _: True, recall=raising(errors, lambda *_: 0.5)
    )
    with ThreadPoolExecutor(1) as pool:
        monitor = RecallMonitor(1.0, pool, metrics)
        submit, options = pool.submit, SimpleNamespace(allowed=None, excluded=None)

        def measured() -> bool:
            monitor.sample(recommender, None, options, None)  # type: ignore[arg-type]
            return bool(metrics.recall_samples._value.get())

        pool.submit = raising([ODD[0]], submit)  # type: ignore[method-assign]
        await until(measured, "a sample")


async def outcomes(metrics: Metrics, tmp_path: Path) -> None:
    settings = Settings(store="unused", outcome_share=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine_outcomes, "PAUSE", 0.01)
        state = LocalState(tmp_path / "state.sqlite3", metrics, PATIENT["state_timeout"])
        add = raising(ODD, state.add_impressions)
        state.add_impressions = add  # type: ignore[method-assign]
        async with state, OutcomeRecorder(state, settings, metrics) as recorder:

            def shown() -> int:
                recorder.show("u", None, "v1", "popular", ["item-1"])
                return len(state._read("SELECT * FROM shown"))

            await until(shown, "an impression")


Work = Callable[[Metrics, Any], Coroutine[Any, Any, None]]
LOOPS: list[Work] = [
    key_file,
    state_cleanup,
    redis_writes,
    redis_write_probe,
    redis_probe,
    recall_monitor,
    outcomes,
]


@pytest.mark.parametrize("work", LOOPS)
def test_each_work_survives_what_is_odd(
    work: Work, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    metrics = Metrics()
    needed = request.getfixturevalue("redis_server") if "redis" in work.__name__ else tmp_path
    asyncio.run(work(metrics, needed))
    assert failures(metrics, work.__name__) == len(ODD)


def test_the_follower_of_the_pointer_survives_what_is_odd(tmp_path: Path) -> None:
    asyncio.run(reload(Metrics(), tmp_path))


def test_every_work_has_its_test() -> None:
    """The change feed has its own, `test_a_listener_that_fails_gets_the_change_again`."""
    sources = "".join(path.read_text() for path in (ROOT / "service").rglob("*.py"))
    names = re.findall(r'(?:BackgroundLoop|last_resort)\(\s*"(\w+)"', sources)
    assert set(names) == {work.__name__ for work in (*LOOPS, reload)} | {"change_feed"}
