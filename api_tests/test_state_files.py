"""A SQLite file that cannot be written, grows no further, is held by others or is none."""

import os
import resource
import shutil
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

from conftest import StartService, new_world
from servers import RunningService, clean_environment, command
from states import Place

from service.settings import Settings

# Root of a container may write where it must not; this takes the right away.
KEEP_TO_PERMISSIONS = ["setpriv", "--bounding-set=-dac_override"] if os.geteuid() == 0 else []


def post(service: RunningService, user_id: str, item_id: str) -> int:
    event = {"user_id": user_id, "item_id": item_id, "key": item_id[:128]}
    response = service.post("/events", json={"events": [event]})
    if response.status_code != 202:
        assert response.json()["error"]["code"] == "state_unavailable", response.text
        assert response.headers["retry-after"] == "1"
    return response.status_code


def kept(path: Path) -> list[str]:
    return [event.item_id for event in Place(Settings(store=path.parent, state=path)).log()]


def test_a_disk_that_is_full(start: StartService, tmp_path: Path) -> None:
    path = tmp_path / "state"
    service = start(state=path)
    assert post(service, "u", "first") == 202
    pid, hard = service.process.pid, resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE)[1]
    promised = ["first"]
    refused = []
    largest = max(p.stat().st_size for p in tmp_path.iterdir())
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (largest + 100_000, hard))
    for n in range(400):
        item_id = f"{n}-" + "x" * 200
        (promised if post(service, f"u-{n % 9}", item_id) == 202 else refused).append(item_id)
    assert promised[1:]
    assert len(refused) > 3
    # Whoever asks gets an answer, with all that was accepted.
    answer = service.get("/recommend/u-1").json()
    assert not answer["degraded"]
    assert len(service.get("/users/u-1").json()["events"]) == sum(
        int(item.split("-")[0]) % 9 == 1 for item in promised[1:]
    )
    # What was refused may have left room for something smaller.
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, hard))
    assert service.client.put("/items/item-1", json={}).status_code == 503
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
    for item_id in refused:
        assert post(service, f"u-{int(item_id.split('-')[0]) % 9}", item_id) == 202
    assert sorted(kept(path)) == sorted([*promised, *refused])
    assert service.client.put("/items/item-1", json={}).status_code == 200
    assert service.terminate() == 0


def test_a_file_that_somebody_else_holds(start: StartService, tmp_path: Path) -> None:
    path = tmp_path / "state"
    service = start(state=path)
    assert post(service, "u", "first") == 202
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        assert post(service, "u", "second") == 503
        assert 0.5 < time.monotonic() - started < 4
        assert len(service.get("/users/u").json()["events"]) == 1
        assert not service.get("/recommend/u").json()["degraded"]
        other.execute("ROLLBACK")
    assert post(service, "u", "second") == 202
    assert kept(path) == ["first", "second"]


def test_a_file_that_is_damaged_while_it_is_used(shop_store: Path, tmp_path: Path) -> None:
    path = tmp_path / "state"
    service = RunningService(shop_store, tmp_path / "log", state=path)
    world = new_world(shop_store)
    try:
        for n in range(200):
            assert post(service, "user-3", f"item-{n}") == 202
        assert service.client.delete("/items/item-7").status_code == 204
        assert service.client.delete("/users/user-4").status_code == 204
        world.delete("item-7")
        world.erase("user-4")
        # Without a checkpoint everything is in the log; the reader has no page of it in memory.
        for file in (path, path.with_name("state-wal")):
            size = file.stat().st_size
            with file.open("r+b") as opened:
                opened.write(os.urandom(size))
        answers = [service.get(f"/recommend/user-{n}").json() for n in (3, 4, 5)]
        for answer in answers:
            assert answer["degraded"]
            world.check_user(answer)
        assert service.get("/readyz").json()["degraded"]
        assert service.get("/items/item-7").status_code == 404
        assert service.get("/users/user-3").status_code == 503
        assert service.metric("state_failures_total", operation="user") >= 3
    finally:
        service.close()
    message = refused_start("--store", str(shop_store), "--port", "0", "--state", str(path))
    assert f"{path}: cannot be used as the state" in message


def refused_start(*options: str) -> str:
    done = subprocess.run(
        command(*options),
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env=clean_environment(),
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr


def test_a_file_that_is_no_state_is_refused_at_the_start(shop_store: Path, tmp_path: Path) -> None:
    """In the store as well: who was erased and what was deleted may be in it."""
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
    (store / "state.sqlite3").write_bytes(b"no database" * 1000)
    message = refused_start(*options)
    assert f"{store / 'state.sqlite3'}: cannot be used as the state" in message


def test_a_store_that_cannot_be_written(shop_store: Path, tmp_path: Path) -> None:
    """The service answers, and says that it keeps nothing; with `--state` it does."""
    store = shutil.copytree(shop_store, tmp_path / "store")
    (store / "state.sqlite3").unlink(missing_ok=True)
    store.chmod(0o555)
    world = new_world(store)
    service = RunningService(store, tmp_path / "log", KEEP_TO_PERMISSIONS)
    try:
        assert service.events("no_state")
        world.check_user(service.get("/recommend/user-3").json())
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
        world.check_user(service.get("/recommend/user-3").json())
        user = service.get("/users/user-3").json()
        assert (user["trained"], user["events"]) == (True, [])
    finally:
        service.close()
    service = RunningService(store, tmp_path / "log", KEEP_TO_PERMISSIONS, state=tmp_path / "state")
    try:
        assert post(service, "user-3", "item-1") == 202
        world.hear("user-3", "item-1", 1.0)
        world.check_user(service.get("/recommend/user-3").json())
    finally:
        service.close()
        store.chmod(0o755)
