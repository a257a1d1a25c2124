"""One publisher at a time in an object store, whoever is killed, paused or late."""

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from bundle_builders import publish
from fsspec.implementations.memory import MemoryFileSystem
from object_stores import DEADLINE, ObjectPlace, python_environment, use_file_system

from bundle import lease, retention
from bundle.errors import StoreError

OCCUPIED = "somebody else is publishing"


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases that end within the test."""
    monkeypatch.setattr(lease, "SECONDS", 3.0)  # a busy machine renews late
    monkeypatch.setattr(lease, "SETTLE", 0.05)


@pytest.mark.parametrize("kind", ["memory", "local", "s3"])
@pytest.mark.usefixtures("soon")
def test_who_comes_second_is_refused_whatever_is_wanted(kind, request):
    place: ObjectPlace = request.getfixturevalue(f"{kind}_place")
    version = publish(place.store())
    with place.store().alone("publish") as check:
        for use in (
            lambda: publish(place.store(), 1),
            lambda: place.store().rollback(version),
            lambda: retention.pin(place.store(), version),
            lambda: retention.collect(place.store(), keep=1),
        ):
            with pytest.raises(StoreError, match=rf"^{place.url}: {OCCUPIED} \(process \d+ on "):
                use()
        time.sleep(1.5 * lease.SECONDS)  # it is renewed
        check()
        with pytest.raises(StoreError, match=OCCUPIED):
            publish(place.store(), 1)
        assert place.store().load().version == version
    assert "locks/publish" not in place.objects()
    publish(place.store(), 1)


@pytest.mark.usefixtures("soon")
def test_a_dead_holders_lease_runs_out(memory_place):
    publish(memory_place.store())
    entry = {"token": "t", "holder": "process 1 on host", "until": time.time() + 1}
    memory_place.write("locks/publish", json.dumps(entry).encode())
    with pytest.raises(StoreError, match=r"process 1 on host, [01] s more"):
        publish(memory_place.store(), 1)
    time.sleep(1.1)
    second = publish(memory_place.store(), 1)
    assert memory_place.store().current() == second
    assert "locks/publish" not in memory_place.objects()


@pytest.mark.usefixtures("soon")
def test_a_lock_that_is_none_is_left_to_people(memory_place):
    memory_place.write("locks/publish", b"{}")
    with pytest.raises(
        StoreError, match=r"/locks/publish: is no lease; delete it if nobody is at work"
    ):
        publish(memory_place.store())
    assert memory_place.read("locks/publish") == b"{}"


@pytest.mark.usefixtures("soon")
def test_an_error_gives_the_lease_back(memory_place):
    with pytest.raises(ZeroDivisionError), memory_place.store().alone("publish"):
        _ = 1 / 0
    assert memory_place.objects() == []


class Careless(MemoryFileSystem):
    """Memory that overwrites whatever the condition says."""

    cachable = False

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
        del mode
        super().pipe_file(path, value)


def test_two_at_once_are_told_apart_where_conditions_are_ignored(memory_place, monkeypatch):
    monkeypatch.setattr(lease, "SETTLE", 0.3)
    use_file_system(monkeypatch, Careless(), memory_place.prefix)
    store = memory_place.store()
    with store.alone("publish") as check:
        with pytest.raises(StoreError, match=OCCUPIED):
            publish(memory_place.store())
        check()
    for _ in range(10):
        refused: list[StoreError] = []
        inside: list[int] = []
        both = threading.Barrier(2)

        def enter(
            number: int, refused: list[StoreError], inside: list[int], both: threading.Barrier
        ) -> None:
            both.wait()
            try:
                with store.alone("publish"):
                    inside.append(number)
                    time.sleep(0.4)
            except StoreError as error:
                refused.append(error)

        threads = [
            threading.Thread(target=enter, args=(n, refused, inside, both)) for n in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(inside), len(refused)) == (1, 1)
        assert OCCUPIED in str(refused[0])


RIVAL = """
import os, sys, time
from pathlib import Path
from bundle import lease
from bundle.errors import StoreError
from bundle.store import BundleStore
lease.SECONDS, lease.SETTLE = 0.6, 0.02
store = BundleStore(sys.argv[1], Path(sys.argv[2]))
inside = Path(sys.argv[3])
end = time.monotonic() + 6
store.live_version()
while time.monotonic() < end:
    try:
        with store.alone("publish"):
            os.mkdir(inside)          # fails if somebody else is inside
            time.sleep(0.05)
            os.rmdir(inside)
        print("published", flush=True)
    except StoreError as error:
        assert "somebody else" in str(error), error
"""


def test_rivals_are_never_inside_together(moto, s3_place, tmp_path):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RIVAL, s3_place.url, str(s3_place.cache), str(tmp_path / "in")],
            stdout=subprocess.PIPE,
            env=python_environment(moto.environment),
            text=True,
        )
        for _ in range(3)
    ]
    turns = [process.communicate(timeout=60)[0].count("published") for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert sum(turns) > 5, turns


PAUSED = """
import sys
from pathlib import Path
from bundle import lease
from bundle.store import BundleStore
from bundle_builders import publish
lease.SECONDS, lease.SETTLE = 1.0, 0.02
store = BundleStore(sys.argv[1], Path(sys.argv[2]))
whole = store.storage.put
def put(staging, version):
    whole(staging, version)
    print(version, flush=True)
    sys.stdin.readline()
store.storage.put = put
publish(store, 1)
"""


@pytest.mark.usefixtures("soon")
def test_who_was_paused_does_not_undo_what_came_after(moto, s3_place, tmp_path):
    """Stopped before the pointer is written, as a machine that sleeps; another one publishes."""
    publish(s3_place.store())
    process = subprocess.Popen(
        [sys.executable, "-c", PAUSED, s3_place.url, str(tmp_path / "paused")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=python_environment(moto.environment),
        text=True,
    )
    assert process.stdout is not None
    late = process.stdout.readline().strip()
    process.send_signal(signal.SIGSTOP)
    with pytest.raises(StoreError, match=OCCUPIED):
        publish(s3_place.store(), 2)
    time.sleep(1.2)
    second = publish(s3_place.store(), 2)
    process.send_signal(signal.SIGCONT)
    said = process.communicate("\n", timeout=DEADLINE)[1]
    assert process.returncode == 1
    assert f"StoreError: {s3_place.url}: {OCCUPIED}" in said
    assert s3_place.store().current() == second
    assert late != second
    assert "locks/publish" not in s3_place.objects()


def test_the_answer_to_a_write_that_was_lost_costs_nothing(memory_place, monkeypatch):
    """The client library writes again, and finds its own lock."""
    monkeypatch.setattr(lease, "SETTLE", 0.0)

    class Repeating(MemoryFileSystem):
        cachable = False

        def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
            super().pipe_file(path, value, mode=mode)
            if mode == "create":
                super().pipe_file(path, value, mode=mode)

    use_file_system(monkeypatch, Repeating(), memory_place.prefix)
    assert publish(memory_place.store()) == memory_place.store().current()
    assert Path(memory_place.prefix).name in memory_place.url
