"""A running service, its state, a refresh of its bundle, and the service with the new bundle."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundle.events.keys import vector_key_prefix
from bundle.events.vector_codec import decode_vector
from bundle.store.store import BundleStore
from tests.support.running.processes import clean_environment
from tests.support.running.sentinel import NAME, RedisWithSentinel
from tests.support.running.servers import RunningRedis, RunningService
from tests.support.running.service_fixtures import Published
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def store(published: Published, tmp_path: Path) -> BundleStore:
    shutil.copytree(published.store, tmp_path / "store")
    return BundleStore(tmp_path / "store")


@pytest.fixture(params=["sqlite", "redis", "cluster"])
def redis_options(
    request: pytest.FixtureRequest, redis_server: RunningRedis
) -> tuple[dict[str, str], list[str]]:
    """Options of the service, and of the refresh."""
    match request.param:
        case "sqlite":
            return {}, []
        case "redis":
            return {"redis_url": redis_server.url}, ["--redis-url", redis_server.url]
    url = request.getfixturevalue("cluster").url
    shared = {"redis_url": url, "redis_namespace": "refreshed"}
    options = [part for name, value in shared.items() for part in (f"--{name}", value)]
    cluster = [part.replace("_", "-") if part[:2] == "--" else part for part in options]
    return {**shared, "redis_cluster": "true"}, [*cluster, "--redis-cluster"]


@pytest.fixture
def service(
    store: BundleStore, redis_options: tuple[dict[str, str], list[str]], tmp_path: Path
) -> Iterator[RunningService]:
    log = tmp_path / "service.log"
    running = RunningService(Path(store.root), log, reload_poll="0.1", **redis_options[0])
    yield running
    running.close()


def refresh(store: BundleStore, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "training", "refresh", "--store", str(store.root), *options],
        capture_output=True,
        text=True,
        check=False,
        env=clean_environment(),
    )


def refresh_output(store: BundleStore, *options: str) -> str:
    done = refresh(store, *options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def wait_for_swap(service: RunningService, store: BundleStore) -> None:
    version = store.current()
    wait_until(lambda: service.get("/readyz").json()["bundle_version"] == version, "the swap")


def vector_scores(service: RunningService, user: str) -> tuple[str, dict[str, float]]:
    answer = service.get(f"/recommend/{user}", k=300).json()
    return answer["source"], {item["item_id"]: item["score"] for item in answer["items"]}


def test_the_next_bundle_gives_the_answers_of_the_service_before_it(
    service: RunningService, store: BundleStore, redis_options: tuple[dict[str, str], list[str]]
) -> None:
    bundle = store.load()
    gone = bundle.items.get("item-9")
    # Users who liked the deleted item get another vector; these did not.
    seen = {user: bundle.seen.row(row) for row, user in enumerate(bundle.users.ids[:40])}
    others = [user for user, items in seen.items() if gone not in items and user != "user-3"]
    one, two, silent = others[:3]
    posted: list[dict[str, Any]] = [
        {"user_id": one, "item_id": "item-5", "key": "a"},
        {"user_id": one, "item_id": "item-6", "type": "dislike"},
        {"user_id": "newcomer", "item_id": "item-7", "weight": 2.0},
        {"user_id": two, "item_id": "fresh"},
    ]
    feature = np.random.default_rng(0).standard_normal(6).round(3).tolist()
    assert service.client.put(
        "/items/fresh", json={"features": {"image": feature}, "columns": {"title": "Fresh"}}
    ).is_success
    assert service.client.delete("/items/item-9").status_code == 204
    assert service.post("/events", json={"events": posted}).json()["accepted"] == 4
    assert service.client.delete("/users/user-3").status_code == 204
    users = (one, "newcomer", two, silent)
    before = {user: vector_scores(service, user) for user in users}
    assert [before[user][0] for user in users[:3]] == ["folded_in"] * 3

    assert "published" in refresh_output(store, *redis_options[1])
    wait_for_swap(service, store)
    for user in users:
        source, scores = vector_scores(service, user)
        assert source == "known_user"
        assert scores.keys() == before[user][1].keys()
        expected = [before[user][1][item] for item in scores]
        np.testing.assert_allclose(list(scores.values()), expected, atol=1e-5)
    assert service.get("/recommend/user-3").json()["source"] == "popular"
    fresh = service.get("/items/fresh").json()
    assert fresh["columns"]["title"] == "Fresh"
    assert service.get("/items/item-9").status_code == 404
    assert service.metric("items_live", change="new_vector") == 0
    assert service.metric("items_live", change="hidden") == 0
    assert refresh_output(store, *redis_options[1]) == "nothing new\n"

    # Events from now on count on top of the new bundle; the erased user may come back.
    more = [{"user_id": user, "item_id": "item-11"} for user in (one, "user-3")]
    service.post("/events", json={"events": more})
    assert vector_scores(service, one)[0] == "folded_in"
    assert vector_scores(service, "user-3")[0] == "folded_in"
    refresh_output(store, *redis_options[1])
    wait_for_swap(service, store)
    assert service.get("/users/user-3").json()["interactions"] == ["item-11"]
    assert vector_scores(service, "user-3")[0] == "known_user"
    found = service.get(f"/users/{one}").json()["interactions"]
    assert {"item-5", "item-6", "item-11"} <= set(found)


def test_vectors_are_in_redis_before_the_pointer_moves(store: BundleStore) -> None:
    redis_server = RunningRedis()
    try:
        csv = Path(store.root) / "more.csv"
        csv.write_text("user_id,item_id\nnewcomer,item-1\nuser-1,item-3\n")
        refresh_output(
            store, "--redis-url", redis_server.url, "--events", str(csv), "--preload", "20"
        )
        bundle = store.load()
        prefix = vector_key_prefix("default", bundle.version)
        keys = sorted(redis_server.client.scan_iter(prefix + b"*", 1000))
        assert len(keys) == 20
        for key in keys:
            row = bundle.users.get(key.removeprefix(prefix).decode())
            vector = decode_vector(key, redis_server.client.get(key), bundle.manifest.dim)
            np.testing.assert_array_equal(vector, bundle.user_vectors[row])
            assert 3000 < redis_server.client.ttl(key) <= 4000
        assert not list(redis_server.client.scan_iter("*event*"))
        redis_server.kill()
        csv.with_name("again.csv").write_text("user_id,item_id\nnewcomer,item-2\n")
        again = str(csv.with_name("again.csv"))
        said = refresh_output(store, "--redis-url", redis_server.url, "--events", again)
        assert "published" in said, "a refresh needs no cache"
    finally:
        redis_server.close()


def test_a_refresh_without_its_redis_fails_and_publishes_nothing(store: BundleStore) -> None:
    before = store.current()
    done = refresh(store, "--redis-url", "redis://127.0.0.1:1/0")
    assert done.returncode == 1
    assert done.stderr.startswith("error: Redis: ")
    assert store.current() == before


def test_numbers_of_notes_continue_after_the_loss_of_the_state(
    store: BundleStore, tmp_path: Path
) -> None:
    """The numbers of a new state begin above those in the bundle, so that its notes count."""
    options = {"reload_poll": "0.1"}
    first = RunningService(Path(store.root), tmp_path / "one.log", **options)
    for number in range(3):
        first.client.delete(f"/items/item-{number}")
    first.close()
    refresh_output(store)
    taken = store.load().manifest.taken.notes
    assert taken > 0
    for path in Path(store.root).glob("state.sqlite3*"):
        path.unlink()
    second = RunningService(Path(store.root), tmp_path / "two.log", **options)
    try:
        assert second.client.delete("/items/item-9").status_code == 204
        assert second.get("/items/item-9").status_code == 404
        refresh_output(store)
        assert "item-9" not in store.load().items
        assert store.load().manifest.taken.notes > taken
    finally:
        second.close()


def test_a_refresh_of_a_redis_with_a_sentinel(store: BundleStore, tmp_path: Path) -> None:
    with ExitStack() as running:
        with_sentinel = RedisWithSentinel(tmp_path, running)
        options = {"redis_url": with_sentinel.url, "redis_sentinel": NAME}
        service = RunningService(Path(store.root), tmp_path / "service.log", **options)
        running.callback(service.close)
        events = [{"user_id": "newcomer", "item_id": "item-7"}]
        service.post("/events", json={"events": events}).raise_for_status()
        refresh_output(store, "--redis-url", with_sentinel.url, "--redis-sentinel", NAME)
    assert store.load().users.get("newcomer") is not None
