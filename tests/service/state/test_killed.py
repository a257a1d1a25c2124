"""Processes that are killed while they write, and a Redis that is."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from service.state.base import NewEvent, StateError
from tests.support.running.processes import environment_with_tests
from tests.support.running.servers import RunningRedis
from tests.support.running.states import StateBackend, event, redis_backend, sqlite_backend
from tests.support.waiting import DEADLINE

WRITER = """
import asyncio, itertools, sys
from pathlib import Path
from tests.support.running.states import StateBackend, sqlite_backend, redis_backend
from bundle.events.records import Event
from service.settings import Settings
from service.state.base import NewEvent

async def main(settings, name, limit):
    async with StateBackend(Settings.model_validate_json(settings)).open() as state:
        for n in itertools.count() if limit == "0" else range(int(limit)):
            user = f"user-{n % 5}"
            batch = [Event(user, f"{name}-{n}-{i}", "view", float(n), 1.0) for i in (0, 1)]
            new = await state.add_events([NewEvent(e, f"key-{n}-{i}") for i, e in enumerate(batch)])
            print(n, sum(new), flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


def start_writer(backend: StateBackend, name: str, limit: int = 0) -> subprocess.Popen[str]:
    url = backend.settings.redis_url
    settings = backend.settings.model_dump(mode="json", exclude_none=True)
    if url is not None:
        settings["redis_url"] = url.get_secret_value()
    arguments = [json.dumps(settings), name]
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, *arguments, str(limit)],
        stdout=subprocess.PIPE,
        env=environment_with_tests(),
        text=True,
    )


def killed_writer(backend: StateBackend, name: str, after: int) -> list[str]:
    """The items whose writes a process saw accepted before it was killed."""
    writer = start_writer(backend, name)
    assert writer.stdout is not None
    told = [next(writer.stdout) for _ in range(after)]
    writer.kill()
    told += writer.stdout.readlines()
    writer.wait()
    writer.stdout.close()
    numbers = [line.split()[0] for line in told if line.endswith("\n") and len(line.split()) == 2]
    return [f"{name}-{n}-{i}" for n in numbers for i in (0, 1)]


@pytest.mark.slow
def test_a_killed_process_loses_no_accepted_event(tmp_path: Path) -> None:
    backend = sqlite_backend(tmp_path)
    for round_ in range(2):
        told = killed_writer(
            backend, f"round-{round_}" if round_ else "first", after=10 + 7 * round_
        )
        items = [e.item_id for e in backend.log()]
        if not round_:
            assert set(told) <= set(items)
            assert len(items) in (len(told), len(told) + 2)  # at most one more was on its way
            first = told
    # The keys of later rounds were used by the first one, up to where it was killed.
    assert set(first) <= set(items)
    assert len(items) == len(set(items))
    assert items.count("first-3-0") == 1
    assert "round-1-3-0" not in items


@pytest.mark.slow
def test_two_processes_write_one_file(tmp_path: Path) -> None:
    backend = sqlite_backend(tmp_path)
    writers = [start_writer(backend, name, 60) for name in ("a", "b")]
    outputs = [writer.communicate(timeout=DEADLINE)[0].splitlines() for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0]
    accepted = sum(int(line.split()[1]) for output in outputs for line in output)
    assert accepted == len(backend.log()) == 120
    assert [len(output) for output in outputs] == [60, 60]


def test_a_killed_redis_that_always_syncs_loses_no_accepted_event(tmp_path: Path) -> None:
    server = RunningRedis(appendonly="yes", appendfsync="always", dir=str(tmp_path))
    backend = redis_backend(server.url)
    told: list[str] = []

    async def write() -> None:
        async with backend.open() as state:
            for n in range(10_000):
                if n == 300:
                    server.kill()
                try:
                    await state.add_events([NewEvent(event(f"user-{n % 5}", f"{n}"))])
                except StateError:
                    return
                told.append(f"{n}")

    try:
        asyncio.run(write())
        assert len(told) == 300
        server.start()
        assert [e.item_id for e in sorted(backend.log(), key=lambda e: int(e.item_id))] == told
    finally:
        server.close()
