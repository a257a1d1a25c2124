"""The lease that lets one publisher at a time change an object store."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from bundle.errors import StoreError
from bundle.store import lease, retention
from tests.support.data.bundles import publish
from tests.support.running.object_stores import (
    RunningMoto,
    StoreBackend,
    expire_lease,
    use_file_system,
)
from tests.support.running.processes import environment_with_tests, suspend
from tests.support.waiting import DEADLINE, wait_until

OCCUPIED = "another process is publishing"


@pytest.fixture
def short_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases of 12 s, which are renewed after 3 s."""
    monkeypatch.setattr(lease, "SECONDS", 12.0)
    monkeypatch.setattr(lease, "SETTLE", 0.05)


def lease_end(backend: StoreBackend) -> float:
    return float(json.loads(backend.read("locks/publish"))["until"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["memory", "local", "s3"])
@pytest.mark.usefixtures("short_lease")
def test_a_second_change_of_any_kind_is_refused(kind: str, request: pytest.FixtureRequest) -> None:
    backend: StoreBackend = request.getfixturevalue(f"{kind}_backend")
    version = publish(backend.store())
    with backend.store().alone("publish") as check:
        for use in (
            lambda: publish(backend.store(), 1),
            lambda: backend.store().rollback(version),
            lambda: retention.pin(backend.store(), version),
            lambda: retention.collect(backend.store(), keep=1),
        ):
            with pytest.raises(StoreError, match=rf"^{backend.url}: {OCCUPIED} \(process \d+ on "):
                use()
        first_end = lease_end(backend)
        wait_until(lambda: lease_end(backend) > first_end, "its renewal")
        check()
        with pytest.raises(StoreError, match=OCCUPIED):
            publish(backend.store(), 1)
        assert backend.store().load().version == version
    assert "locks/publish" not in backend.objects()
    publish(backend.store(), 1)


@pytest.mark.usefixtures("short_lease")
def test_the_lease_of_a_dead_process_runs_out(memory_backend: StoreBackend) -> None:
    publish(memory_backend.store())
    entry = {"token": "t", "holder": "process 1 on host", "until": time.time() + 1000}
    memory_backend.write("locks/publish", json.dumps(entry).encode())
    with pytest.raises(StoreError, match=r"process 1 on host, \d+ s more"):
        publish(memory_backend.store(), 1)
    expire_lease(memory_backend)
    second = publish(memory_backend.store(), 1)
    assert memory_backend.store().current() == second
    assert "locks/publish" not in memory_backend.objects()


@pytest.mark.usefixtures("short_lease")
def test_a_lock_that_is_no_lease_is_left_as_it_is(memory_backend: StoreBackend) -> None:
    memory_backend.write("locks/publish", b"{}")
    with pytest.raises(
        StoreError, match=r"/locks/publish: not a lease; delete it if no process is at work"
    ):
        publish(memory_backend.store())
    assert memory_backend.read("locks/publish") == b"{}"


@pytest.mark.usefixtures("short_lease")
def test_an_error_releases_the_lease(memory_backend: StoreBackend) -> None:
    with pytest.raises(ZeroDivisionError), memory_backend.store().alone("publish"):
        _ = 1 / 0
    assert memory_backend.objects() == []


class UnconditionalWrites(MemoryFileSystem):
    """Memory that ignores the condition of a write."""

    cachable = False

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
        del mode
        super().pipe_file(path, value)


@pytest.mark.slow
def test_of_two_publishers_one_is_refused_where_conditions_are_ignored(
    memory_backend: StoreBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Both write within this time, s; a busy machine must not take longer for it.
    monkeypatch.setattr(lease, "SETTLE", 1.0)
    use_file_system(monkeypatch, UnconditionalWrites(), memory_backend.prefix)
    store = memory_backend.store()
    with store.alone("publish") as check:
        with pytest.raises(StoreError, match=OCCUPIED):
            publish(memory_backend.store())
        check()
    for _ in range(5):
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
                    wait_until(lambda: len(inside) + len(refused) == 2, "the other publisher")
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


PUBLISHER = """
import os, sys, time
from pathlib import Path
from bundle.store import lease
from bundle.errors import StoreError
from bundle.store.store import BundleStore
lease.SETTLE = 0.02
store = BundleStore(sys.argv[1], Path(sys.argv[2]))
inside = Path(sys.argv[3])
store.live_version()
print("ready", flush=True)
sys.stdin.readline()
turns = refusals = 0
while turns < 4:
    try:
        with store.alone("publish"):
            os.mkdir(inside)          # fails if another process is inside
            time.sleep(0.05)
            os.rmdir(inside)
        turns += 1
    except StoreError as error:
        assert "another process" in str(error), error
        refusals += 1
print(refusals)
"""


@pytest.mark.slow
def test_concurrent_publishers_hold_the_lease_one_after_another(
    moto: RunningMoto, s3_backend: StoreBackend, tmp_path: Path
) -> None:
    """Until each has had its turns: how often others are refused depends on the machine."""
    arguments = [s3_backend.url, str(s3_backend.cache), str(tmp_path / "inside")]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PUBLISHER, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | moto.environment,
            text=True,
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    refusals = [int(process.communicate(timeout=DEADLINE)[0]) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert sum(refusals) > 0, "they never met"


PAUSED = """
import sys
from pathlib import Path
from bundle.store import lease
from bundle.store.store import BundleStore
from tests.support.data.bundles import publish
lease.SETTLE = 0.02
store = BundleStore(sys.argv[1], Path(sys.argv[2]))
whole = store.storage.put
def put(staging, version):
    whole(staging, version)
    print(version, flush=True)
    sys.stdin.readline()
store.storage.put = put
publish(store, 1)
"""


@pytest.mark.slow
@pytest.mark.usefixtures("short_lease")
def test_a_paused_publisher_does_not_undo_a_later_publication(
    moto: RunningMoto, s3_backend: StoreBackend, tmp_path: Path
) -> None:
    """Stopped before it writes the pointer, until its lease has run out and another publishes."""
    publish(s3_backend.store())
    process = subprocess.Popen(
        [sys.executable, "-c", PAUSED, s3_backend.url, str(tmp_path / "paused")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment_with_tests(**moto.environment),
        text=True,
    )
    assert process.stdout is not None
    late = process.stdout.readline().strip()
    suspend(process.pid)
    with pytest.raises(StoreError, match=OCCUPIED):
        publish(s3_backend.store(), 2)
    expire_lease(s3_backend)
    second = publish(s3_backend.store(), 2)
    process.send_signal(signal.SIGCONT)
    said = process.communicate("\n", timeout=DEADLINE)[1]
    assert process.returncode == 1
    assert f"StoreError: {s3_backend.url}: {OCCUPIED}" in said
    assert s3_backend.store().current() == second
    assert late != second
    assert "locks/publish" not in s3_backend.objects()


def test_a_repeated_write_finds_its_own_lock(
    memory_backend: StoreBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reply to a write was lost, so that the client library writes again."""
    monkeypatch.setattr(lease, "SETTLE", 0.0)

    class Repeating(MemoryFileSystem):
        cachable = False

        def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
            super().pipe_file(path, value, mode=mode)
            if mode == "create":
                super().pipe_file(path, value, mode=mode)

    use_file_system(monkeypatch, Repeating(), memory_backend.prefix)
    assert publish(memory_backend.store()) == memory_backend.store().current()
    assert Path(memory_backend.prefix).name in memory_backend.url
