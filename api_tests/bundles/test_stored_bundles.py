"""`/admin/bundles`, `/admin/compare` and `/admin/rollback`."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from bundle.store.store import BundleStore
from tests.support.data.bundles import publish
from tests.support.data.item_changes import random_features
from tests.support.running.servers import RunningService
from tests.support.running.service_fixtures import StartService

pytestmark = pytest.mark.slow
MISSING = "20260101T000000Z-00000000"


@pytest.fixture
def store(tmp_path: Path) -> BundleStore:
    """A store of two bundles with different vectors, the newer of which is live."""
    made = BundleStore(tmp_path / "store")
    publish(made, seed=0)
    publish(made, seed=1)
    return made


@pytest.fixture
def service(store: BundleStore, start: StartService) -> RunningService:
    return start(store=store.root, reload_poll=0)


def listed(service: RunningService) -> dict[str, Any]:
    found: dict[str, Any] = service.get("/admin/bundles").json()
    return found


def compare(service: RunningService, version: str, **options: Any) -> httpx.Response:
    return service.post("/admin/compare", json={"user_id": "user-3", "version": version, **options})


def refusal(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_the_bundles_of_the_store(store: BundleStore, service: RunningService) -> None:
    old, new = store.versions()
    found = listed(service)
    assert (found["live_version"], found["served_version"]) == (new, new)
    assert [bundle["version"] for bundle in found["bundles"]] == [new, old]
    assert found["bundles"][0]["parent_version"] == old
    assert found["bundles"][0]["bytes"] == store.manifest(new).size
    assert not found["bundles"][0]["has_report"]
    # A damaged one is not served, and does not hide the others.
    (store.path(old) / "manifest.json").write_text("{}")
    assert [bundle["version"] for bundle in listed(service)["bundles"]] == [new]


def test_reports(store: BundleStore, service: RunningService) -> None:
    old, new = store.versions()
    store.storage.write(f"reports/{new}.json", json.dumps({"candidate": new}).encode())
    store.storage.write(f"reports/{new}.html", b"<h1>report</h1>")
    assert [bundle["has_report"] for bundle in listed(service)["bundles"]] == [True, False]
    assert service.get(f"/admin/bundles/{new}/report").json() == {"candidate": new}
    page = service.get(f"/admin/bundles/{new}/report.html")
    assert page.text == "<h1>report</h1>"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert policy.endswith("sandbox")
    for version in (old, MISSING, "..%2F..%2FCURRENT", "x"):
        for kind in ("report", "report.html"):
            assert service.get(f"/admin/bundles/{version}/{kind}").status_code == 404


def test_both_bundles_answer_for_a_user(store: BundleStore, service: RunningService) -> None:
    old, new = store.versions()
    answer = compare(service, old, k=10, explain=True)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["served"]["bundle_version"] == new
    assert found["other"]["bundle_version"] == old
    assert found["served"]["items"][0]["parts"]
    lists = [[item["item_id"] for item in found[name]["items"]] for name in ("served", "other")]
    assert lists[0] == [
        i["item_id"] for i in service.get("/recommend/user-3", k=10).json()["items"]
    ]
    assert found["overlap"] == pytest.approx(len(set(lists[0]) & set(lists[1])) / 10)
    assert lists[0] != lists[1]
    same = compare(service, new).json()
    assert same["overlap"] == 1
    assert same["served"]["items"] == same["other"]["items"]


def test_changes_of_items_reach_the_bundle_beside(
    store: BundleStore, service: RunningService
) -> None:
    old, _ = store.versions()

    def shown() -> set[str]:
        return {item["item_id"] for item in compare(service, old, k=40).json()["other"]["items"]}

    service.client.put("/items/before", json={"features": random_features(1)})
    assert "before" in shown()
    service.client.put("/items/after", json={"features": random_features(2)})
    service.client.delete("/items/before")
    assert shown() & {"before", "after"} == {"after"}


def test_one_bundle_at_a_time_is_kept(store: BundleStore, service: RunningService) -> None:
    publish(store, seed=2)
    versions = [*store.versions(), store.versions()[0]]
    for version in versions:
        assert compare(service, version).json()["other"]["bundle_version"] == version


def test_what_cannot_be_compared(store: BundleStore, service: RunningService) -> None:
    old, new = store.versions()
    assert refusal(compare(service, MISSING)) == (404, "unknown_bundle")
    assert refusal(compare(service, "../CURRENT")) == (404, "unknown_bundle")
    assert refusal(compare(service, new, k=0)) == (422, "invalid_parameter")
    assert refusal(compare(service, new, filter="nothing = 1")) == (422, "invalid_parameter")
    (store.path(old) / "user_vectors.npy").write_bytes(b"")
    assert refusal(compare(service, old)) == (409, "bundle_refused")
    assert str(store.root) not in compare(service, old).text
    assert service.get("/recommend/user-3").json()["bundle_version"] == new


def test_a_rollback_and_back(store: BundleStore, service: RunningService) -> None:
    old, new = store.versions()
    for version in (old, new):
        answer = service.post("/admin/rollback", json={"version": version})
        assert answer.json() == {"outcome": "swapped", "bundle_version": version}
        assert store.current() == version
        assert service.get("/recommend/user-3").json()["bundle_version"] == version
    assert [event["bundle_version"] for event in service.events("rolled_back")] == [old, new]


def test_rollbacks_that_are_refused_change_nothing(
    store: BundleStore, service: RunningService
) -> None:
    old, new = store.versions()

    def roll_back(version: str) -> tuple[int, str]:
        return refusal(service.post("/admin/rollback", json={"version": version}))

    assert roll_back(MISSING) == (404, "unknown_bundle")
    assert roll_back("../x") == (404, "unknown_bundle")
    with store.alone("publish"):
        assert roll_back(old) == (503, "store_unavailable")
    (store.path(old) / "item_vectors.npy").write_bytes(b"")
    assert roll_back(old) == (409, "bundle_refused")
    assert store.current() == new
    assert listed(service)["served_version"] == new
