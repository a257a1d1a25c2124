"""A new live bundle is taken in while requests run; a bad one is refused."""

import asyncio
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from bundle_builders import make_contents
from conftest import Published, StartService
from servers import RunningService, wait_until

from bundle.store import BundleStore
from service.memory import available_memory
from service.metrics import Metrics
from service.swap import Swapper

Publish = Callable[[int], Published]


@pytest.fixture
def publish(tmp_path: Path) -> Publish:
    """Publishes another bundle of the same users and items into the test's own store."""
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


def test_workers_follow_the_pointer(start: StartService, publish: Publish) -> None:
    first = publish(1)
    service = start(store=first.store, reload_poll=0.1, workers=2)
    second = publish(2)

    def all_have_swapped() -> bool:
        # Each connection may reach another worker.
        versions = {httpx.get(f"{service.url}/readyz").json()["bundle_version"] for _ in range(12)}
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
def test_a_bad_candidate_is_refused(
    start: StartService, publish: Publish, damage: Callable[[Path], None]
) -> None:
    first = publish(1)
    service = start(store=first.store, reload_poll=0)
    second = publish(2)
    damage(first.store / "bundles" / second.version)
    reload = service.post("/admin/reload")
    assert (reload.status_code, reload.json()["error"]["code"]) == (409, "bundle_refused")
    assert second.version in reload.json()["error"]["message"]
    assert running_version(service) == first.version
    first.check(service.get("/recommend/user-5").json())
    assert service.metric("bundles_refused_total") == 1
    assert len(service.events("bundle_refused")) == 1
    third = publish(3)
    assert service.post("/admin/reload").json()["bundle_version"] == third.version
    third.check(service.get("/recommend/user-5").json())


def test_a_bad_candidate_is_not_tried_at_each_look(start: StartService, publish: Publish) -> None:
    first = publish(1)
    service = start(store=first.store, reload_poll=0.05)
    (first.store / "CURRENT").write_text("20200101T000000Z-00000000\n")
    wait_until(lambda: service.events("bundle_refused"), "the refusal")
    time.sleep(0.5)
    assert len(service.events("bundle_refused")) == 1
    BundleStore(first.store).rollback(first.version)
    second = publish(2)
    wait_until(lambda: running_version(service) == second.version, "the next one")


def test_no_request_fails_while_bundles_are_swapped(start: StartService, publish: Publish) -> None:
    bundles = [publish(seed) for seed in range(4)]
    by_version = {bundle.version: bundle for bundle in bundles}
    service = start(store=bundles[0].store, reload_poll=0)
    answered: list[dict[str, Any]] = []
    swaps = 0

    async def load() -> None:
        nonlocal swaps
        async with httpx.AsyncClient(base_url=service.url, timeout=20) as client:
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
                await asyncio.sleep(0.1)
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


def test_memory_that_is_left(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("900000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 50000\n")
    assert available_memory(tmp_path) == 150_000
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory(tmp_path, tmp_path / "none") is None
    assert available_memory(tmp_path) is not None


def test_a_candidate_for_which_there_is_no_memory_is_refused(
    monkeypatch: pytest.MonkeyPatch, publish: Publish
) -> None:
    first, second = publish(1), publish(2)
    monkeypatch.setattr("service.swap.available_memory", lambda: 1000)
    metrics = Metrics()
    bundle = SimpleNamespace(version=first.version)
    service: Any = SimpleNamespace(serving=SimpleNamespace(bundle=bundle), metrics=metrics)

    def load(_: str) -> Any:
        raise AssertionError("must not be loaded")

    swapper = Swapper(service, BundleStore(first.store), load, 0)
    swap = asyncio.run(swapper.look())
    assert (swap.outcome, swap.version) == ("refused", first.version)
    assert second.version in (swap.reason or "")
    assert b'bundles_refused_total{reason="memory"} 1.0' in metrics.render()
