"""The access table, and what the check of a key costs."""

import asyncio
import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi.routing import iter_route_contexts

from service.app import create_app
from service.auth.key_store import KeyStore
from service.http.middleware.authentication import (
    KEY_NAME,
    REQUIRED_SCOPES,
    Authentication,
    scope_entry,
)
from service.observability.metrics import Metrics
from service.settings import Settings
from tests.support.running.api_keys import KEYS, entries
from tests.support.running.service_fixtures import Published

CHECK_COSTS = 40
"""Limit of the CPU time of a check, in digests of a key; 6 were measured."""


def test_every_route_has_a_row_in_the_access_table(published: Published) -> None:
    app = create_app(Settings(store=str(published.store), studio=True))
    rows = set()
    for route in iter_route_contexts(app.routes):
        assert route.methods and route.path, route
        rows |= {scope_entry(method, route.path) for method in route.methods}
    assert not rows - set(REQUIRED_SCOPES)
    # Rows without an endpoint: only `/admin`, which is reserved.
    assert {line.partition(" ")[2] for line in REQUIRED_SCOPES} - {
        line.partition(" ")[2] for line in rows
    } <= {"/admin"}


def cpu_seconds_of(work: Callable[[int], object], times: int = 500) -> float:
    """CPU time of one of the calls that `work` makes, the least of several measurements."""
    measured = []
    for _ in range(20):
        started = time.thread_time()
        work(times)
        measured.append((time.thread_time() - started) / times)
    return min(measured)


def test_a_check_costs_little(tmp_path: Path) -> None:
    """The whole middleware for a request with a key takes 3 µs; compared is with a digest."""
    key_file = tmp_path / "keys.json"
    key_file.write_text(entries("reader", requests_per_second=1e6, burst=1_000_000))
    metrics = Metrics()

    async def nothing(*_: Any) -> None:
        pass

    access = Authentication(nothing, KeyStore(key_file, metrics), metrics, True)
    sent = [(b"host", b"x"), (b"user-agent", b"y"), (b"accept", b"*/*")]
    sent.append((b"authorization", b"Bearer " + KEYS["reader"].encode()))
    scope = {"type": "http", "method": "GET", "path": "/recommend/user-1", "headers": sent}

    async def check(times: int) -> None:
        for _ in range(times):
            await access(scope, nothing, nothing)  # type: ignore[arg-type]

    def digest(times: int) -> None:
        for _ in range(times):
            hashlib.sha256(KEYS["reader"].encode()).digest()

    check_seconds = cpu_seconds_of(lambda times: asyncio.run(check(times)))
    assert check_seconds < CHECK_COSTS * cpu_seconds_of(digest)
    assert scope[KEY_NAME] == "reader"
