"""A new live bundle is loaded while requests run; a damaged one is refused."""

import asyncio
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from bundle.store.store import BundleStore
from tests.support.data.bundles import make_contents
from tests.support.running.servers import RunningService
from tests.support.running.service_fixtures import Published, StartService
from tests.support.waiting import DEADLINE, until, wait_until

pytestmark = pytest.mark.slow

Publish = Callable[[int], Published]


@pytest.fixture
def publish(tmp_path: Path) -> Publish:
    """A function that publishes another bundle of the same users and items into one store."""
    store = tmp_path / "own-store"

    def one(seed: int) -> Published:
        contents = make_contents(300, 250, 16, rng=np.random.default_rng(seed))
        return Published(store, contents, BundleStore(store).publish(contents))

    return one


def running_version(service: RunningService) -> str:
    return str(service.get("/readyz").json()["bundle_version"])


def test_reload_swaps_and_rollback_swaps_back(start: StartService, publish: Publish) -> None:
    first = publish(1)
    service = start(store=first.store, reload_poll=0)
    assert service.post("/admin/reload").json() == {
        "outcome": "unchanged",
        "bundle_version": first.version,
    }
    first.check(service.get("/recommend/user-5").json())
    second = publish(2)
    assert running_version(service) == first.version
    swapped = service.post("/admin/reload").json()
    assert swapped == {"outcome": "swapped", "bundle_version": second.version}
    answer = service.get("/recommend/user-5").json()
    assert answer["bundle_version"] == second.version
    second.check(answer)
    BundleStore(first.store).rollback(first.version)
    assert service.post("/admin/reload").json()["bundle_version"] == first.version
    first.check(service.get("/recommend/user-5").json())
    assert service.metric("bundle_swaps_total") == 2
    assert service.metric("bundle_info", version=first.version) == 1
    assert service.metric("bundle_info", version=second.version) == 0


def test_all_workers_load_the_live_bundle(start: StartService, publish: Publish) -> None:
    first = publish(1)
    service = start(store=first.store, reload_poll=0.1, workers=2)
    second = publish(2)

    def all_have_swapped() -> bool:
        # Each connection may reach another worker.
        versions = {
            httpx.get(f"{service.url}/readyz", timeout=DEADLINE).json()["bundle_version"]
            for _ in range(12)
        }
        return versions == {second.version}

    wait_until(all_have_swapped, "both workers")


def test_changes_of_items_survive_a_swap(start: StartService, publish: Publish) -> None:
    first = publish(1)
    service = start(store=first.store, reload_poll=0)
    features = {"image": [1.0] * 6, "text": [1.0] * 4}
    columns = {"title": "New", "category": "only-here"}
    service.client.put("/items/new", json={"features": features, "columns": columns})
    service.client.delete("/items/item-3")
    publish(2)
    assert service.post("/admin/reload").json()["outcome"] == "swapped"
    found = service.get("/recommend/user-5", filter='category = "only-here"').json()["items"]
    assert [item["item_id"] for item in found] == ["new"]
    assert service.get("/items/item-3").status_code == 404


def damage_vectors(bundle: Path) -> None:
    path = bundle / "item_vectors.npy"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(raw)


def lose_the_index(bundle: Path) -> None:
    (bundle / "items.faiss").unlink()


def lose_everything(bundle: Path) -> None:
    shutil.rmtree(bundle)


@pytest.mark.parametrize("damage", [damage_vectors, lose_the_index, lose_everything])
def test_a_damaged_bundle_is_refused(
    start: StartService, publish: Publish, damage: Callable[[Path], None]
) -> None:
    first = publish(1)
    service = start(store=first.store, reload_poll=0)
    second = publish(2)
    damage(first.store / "bundles" / second.version)
    reload = service.post("/admin/reload")
    assert (reload.status_code, reload.json()["error"]["code"]) == (409, "bundle_refused")
    message = reload.json()["error"]["message"]
    assert second.version in message or damage is lose_everything
    assert str(first.store) not in message  # the log has it
    assert running_version(service) == first.version
    first.check(service.get("/recommend/user-5").json())
    assert service.metric("bundles_refused_total") == 1
    assert len(service.events("bundle_refused")) == 1
    third = publish(3)
    assert service.post("/admin/reload").json()["bundle_version"] == third.version
    third.check(service.get("/recommend/user-5").json())


def test_a_refused_bundle_is_not_loaded_again_at_each_poll(
    start: StartService, publish: Publish
) -> None:
    first = publish(1)
    service = start(store=first.store, reload_poll=0.05)
    pointer = first.store / "CURRENT.new"
    pointer.write_text("20200101T000000Z-00000000\n")
    pointer.replace(first.store / "CURRENT")  # else a poll may find it empty, another refusal
    wait_until(lambda: service.events("bundle_refused"), "the refusal")
    time.sleep(0.5)  # ten polls
    assert len(service.events("bundle_refused")) == 1
    BundleStore(first.store).rollback(first.version)
    second = publish(2)
    wait_until(lambda: running_version(service) == second.version, "the next one")


def lose_the_pointer(store: Path) -> None:
    (store / "CURRENT").unlink()


def lose_the_volume(store: Path) -> None:
    store.rename(store.with_name("gone"))


@pytest.mark.parametrize("lose", [lose_the_pointer, lose_everything, lose_the_volume])
def test_a_store_that_vanished_is_reported(
    start: StartService, publish: Publish, tmp_path: Path, lose: Callable[[Path], None]
) -> None:
    first = publish(1)
    service = start(store=first.store, state=tmp_path / "state.sqlite3", reload_poll=0.05)
    assert service.get("/readyz").json()["store"] == "ok"
    kept = shutil.copytree(first.store, tmp_path / "kept")
    lose(first.store)
    wait_until(lambda: service.metric("bundle_behind") == 1, "the notice")
    assert service.get("/readyz").json()["store"] == "failing"
    assert service.metric("bundles_refused_total", reason="store") > 0
    reload = service.post("/admin/reload")
    assert (reload.status_code, reload.json()["error"]["code"]) == (409, "bundle_refused")
    first.check(service.get("/recommend/user-5").json())
    assert len(service.events("bundle_refused")) == 1
    shutil.copytree(kept, first.store, dirs_exist_ok=True)
    wait_until(lambda: service.metric("bundle_behind") == 0, "the store")
    assert service.get("/readyz").json()["store"] == "ok"


def test_no_request_fails_while_bundles_are_swapped(start: StartService, publish: Publish) -> None:
    bundles = [publish(seed) for seed in range(4)]
    by_version = {bundle.version: bundle for bundle in bundles}
    service = start(store=bundles[0].store, reload_poll=0)
    answered: list[dict[str, Any]] = []
    swaps = 0

    async def load() -> None:
        nonlocal swaps
        async with httpx.AsyncClient(base_url=service.url, timeout=DEADLINE) as client:
            stop = asyncio.Event()

            async def ask(number: int) -> None:
                while not stop.is_set():
                    response = await client.get(f"/recommend/user-{number % 250}")
                    assert response.status_code == 200
                    answered.append(response.json())

            asking = [asyncio.create_task(ask(n)) for n in range(8)]
            for turn in range(8):
                BundleStore(bundles[0].store).rollback(bundles[turn % 4].version)
                outcome = (await client.post("/admin/reload")).json()["outcome"]
                swaps += outcome == "swapped"
                version = bundles[turn % 4].version
                await until(lambda v=version: answered[-1]["bundle_version"] == v, "its answer")
            stop.set()
            await asyncio.gather(*asking)

    asyncio.run(load())
    assert swaps >= 7
    assert len({answer["bundle_version"] for answer in answered}) == 4
    for answer in answered:
        bundle = by_version[answer["bundle_version"]]
        if answer["source"] == "known_user":
            bundle.check(answer)


def test_memory_stays_level_over_many_swaps(start: StartService, tmp_path: Path) -> None:
    store = tmp_path / "large"
    versions = []
    for seed in range(2):
        contents = make_contents(20_000, 4_000, 64, rng=np.random.default_rng(seed))
        versions.append(BundleStore(store).publish(contents))
    service = start(store=store, reload_poll=0)
    sizes = []
    for turn in range(50):
        BundleStore(store).rollback(versions[turn % 2])
        assert service.post("/admin/reload").json()["outcome"] == "swapped"
        service.get("/recommend/user-5")
        pages = Path(f"/proc/{service.process.pid}/statm").read_text().split()[1]
        sizes.append(int(pages))
    assert np.mean(sizes[-10:]) < 1.1 * np.mean(sizes[5:15])
