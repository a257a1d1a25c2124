"""A state file on a full disk, locked, damaged, not writable or no SQLite file."""

import os
import resource
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from service.settings import Settings
from tests.support.running.processes import run_service
from tests.support.running.servers import RunningService
from tests.support.running.service_fixtures import StartService, new_reference
from tests.support.running.states import StateBackend
from tests.support.waiting import wait_until

# Root in a container may write everywhere; this takes the right away.
KEEP_TO_PERMISSIONS = ["setpriv", "--bounding-set=-dac_override"] if os.geteuid() == 0 else []


def post(service: RunningService, user_id: str, item_id: str) -> int:
    event = {"user_id": user_id, "item_id": item_id, "key": item_id[:128]}
    response = service.post("/events", json={"events": [event]})
    if response.status_code != 202:
        assert response.json()["error"]["code"] == "state_unavailable", response.text
        assert response.headers["retry-after"] == "1"
        assert "/" not in response.json()["error"]["message"]  # nothing of the server's files
    return response.status_code


def kept(path: Path) -> list[str]:
    return [
        event.item_id for event in StateBackend(Settings(store=str(path.parent), state=path)).log()
    ]


@pytest.mark.slow
def test_a_disk_that_is_full(start: StartService, tmp_path: Path) -> None:
    path = tmp_path / "state"
    service = start(state=path)
    assert post(service, "u", "first") == 202
    pid, hard = service.process.pid, resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE)[1]
    accepted = ["first"]
    refused: list[str] = []
    largest = max(p.stat().st_size for p in tmp_path.iterdir())
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (largest + 100_000, hard))
    for n in range(400):
        item_id = f"{n}-" + "x" * 200
        (accepted if post(service, f"u-{n % 9}", item_id) == 202 else refused).append(item_id)
    assert accepted[1:]
    assert len(refused) > 3
    assert {str(path) in event["reason"] for event in service.events("state_failed")} == {True}
    # Answers have all that was accepted.
    answer = service.get("/recommend/u-1").json()
    assert not answer["degraded"]
    assert len(service.get("/users/u-1").json()["events"]) == sum(
        int(item.split("-")[0]) % 9 == 1 for item in accepted[1:]
    )
    # A refused request may have left room for something smaller.
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, hard))
    assert service.client.put("/items/item-1", json={}).status_code == 503
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
    for item_id in refused:
        assert post(service, f"u-{int(item_id.split('-')[0]) % 9}", item_id) == 202
    assert sorted(kept(path)) == sorted([*accepted, *refused])
    assert service.client.put("/items/item-1", json={}).status_code == 200
    assert service.terminate() == 0


@pytest.mark.slow
def test_a_locked_file(start: StartService, tmp_path: Path) -> None:
    path = tmp_path / "state"
    service = start(state=path, state_timeout=1)
    assert post(service, "u", "first") == 202
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        assert post(service, "u", "second") == 503
        assert 0.5 < time.monotonic() - started < 60
        assert len(service.get("/users/u").json()["events"]) == 1
        assert not service.get("/recommend/u").json()["degraded"]
        assert service.get("/readyz").json()["degraded"]
        other.execute("ROLLBACK")
    wait_until(lambda: post(service, "u", "second") == 202, "a write within a second")
    assert not service.get("/readyz").json()["degraded"]
    assert kept(path) == ["first", "second"]


@pytest.mark.slow
def test_a_file_that_is_deleted_in_use(start: StartService, tmp_path: Path) -> None:
    path = tmp_path / "state"
    service = start(state=path, workers=2)
    wait_until(lambda: len(service.events("serving")) == 2, "both workers")
    assert post(service, "u", "first") == 202
    path.unlink()
    assert {post(service, "u", f"later-{n}") for n in range(10)} == {503}
    assert "deleted or replaced" in service.events("state_failed")[0]["reason"]
    assert len(service.get("/users/u").json()["events"]) >= 1  # what was acknowledged still counts
    assert service.client.delete("/users/u").status_code == 503


@pytest.mark.slow
def test_a_file_that_is_damaged_in_use(shop_store: Path, tmp_path: Path) -> None:
    path = tmp_path / "state"
    service = RunningService(shop_store, tmp_path / "log", state=path)
    reference = new_reference(shop_store)
    try:
        for n in range(200):
            assert post(service, "user-3", f"item-{n}") == 202
        assert service.client.delete("/items/item-7").status_code == 204
        assert service.client.delete("/users/user-4").status_code == 204
        reference.delete("item-7")
        reference.erase("user-4")
        # Without a checkpoint everything is in the log; the reader has no page of it in memory.
        for file in (path, path.with_name("state-wal")):
            size = file.stat().st_size
            with file.open("r+b") as opened:
                opened.write(os.urandom(size))
        answers = [service.get(f"/recommend/user-{n}").json() for n in (3, 4, 5)]
        for answer in answers:
            assert answer["degraded"]
            reference.check_user(answer)
        assert service.get("/readyz").json()["degraded"]
        assert service.get("/items/item-7").status_code == 404
        assert service.get("/users/user-3").status_code == 503
        assert service.metric("state_failures_total", operation="user") >= 3
    finally:
        service.close()
    message = refused_start("--store", str(shop_store), "--port", "0", "--state", str(path))
    assert f"{path}: cannot be used as the state" in message


def refused_start(*options: str) -> str:
    code, output = run_service(*options)
    assert code == 1, output
    assert len(output.splitlines()) == 1, output
    return output


@pytest.mark.slow
def test_a_file_that_is_no_state_is_refused_at_the_start(shop_store: Path, tmp_path: Path) -> None:
    """In the store as well: erased users and deleted items may be in it."""
    store = shutil.copytree(shop_store, tmp_path / "store")
    bad = tmp_path / "bad"
    bad.write_bytes(b"no database" * 1000)
    options = ["--store", str(store), "--port", "0"]
    missing = tmp_path / "nowhere" / "state"
    assert f"{bad}: cannot be used as the state" in refused_start(
        *options, "--state", str(bad), "--workers", "2"
    )
    message = refused_start(*options, "--state", str(missing))
    assert f"{missing}: cannot be used as the state (unable to open database file)" in message
    for content in (b"no database" * 1000, b""):
        (store / "state.sqlite3").write_bytes(content)
        message = refused_start(*options)
        assert f"{store / 'state.sqlite3'}: cannot be used as the state" in message


@pytest.mark.slow
def test_a_store_that_cannot_be_written(shop_store: Path, tmp_path: Path) -> None:
    """The service answers and warns that it has no state; with `--state` it has one."""
    store = shutil.copytree(shop_store, tmp_path / "store")
    (store / "state.sqlite3").unlink(missing_ok=True)
    store.chmod(0o555)
    reference = new_reference(store)
    service = RunningService(store, tmp_path / "log", KEEP_TO_PERMISSIONS)
    try:
        assert service.events("no_state")
        reference.check_user(service.get("/recommend/user-3").json())
        assert post(service, "user-3", "item-1") == 503
        for method, path, body in (
            ("PUT", "/items/item-1", {}),
            ("POST", "/items", {"items": [{"item_id": "item-1"}]}),
            ("DELETE", "/items/item-1", None),
            ("DELETE", "/users/user-3", None),
        ):
            response = service.client.request(method, path, json=body)
            assert response.status_code == 503, response.text
            message = response.json()["error"]["message"]
            assert message == "no state: start the service with --state FILE or --redis-url"
        reference.check_user(service.get("/recommend/user-3").json())
        user = service.get("/users/user-3").json()
        assert (user["trained"], user["events"]) == (True, [])
    finally:
        service.close()
    service = RunningService(store, tmp_path / "log", KEEP_TO_PERMISSIONS, state=tmp_path / "state")
    try:
        assert post(service, "user-3", "item-1") == 202
        reference.add_event("user-3", "item-1", 1.0)
        reference.check_user(service.get("/recommend/user-3").json())
    finally:
        service.close()
        store.chmod(0o755)
