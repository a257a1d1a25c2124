"""Tab "Two bundles", by clicking: comparison, the gate's report, rollback."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from api_tests.studio.conftest import Show, start_studio
from bundle.store.store import BundleStore
from tests.support.data.picture_shop import PictureShop
from tests.support.running.servers import RunningService

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def service(
    shop: PictureShop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningService]:
    """On a store of its own, which is rolled back."""
    folder = tmp_path_factory.mktemp("bundles")
    store = BundleStore(shutil.copytree(Path(shop.store.root), folder / "store"))
    running = start_studio(PictureShop(store, shop.pictures, shop.encoders), folder)
    yield running
    running.close()


def test_one_user_under_both_bundles(
    service: RunningService, show: Show, picture: Callable[[Page, str], None]
) -> None:
    stored = service.get("/admin/bundles").json()
    new, old = [bundle["version"] for bundle in stored["bundles"]]
    page = show("bundles")
    expect(page.get_by_role("rowheader").first).to_contain_text(f"{new} · live · served")
    page.get_by_label("User", exact=True).fill("user-0005")
    page.get_by_role("button", name="Compare").click()
    asked = {"user_id": "user-0005", "version": old, "k": 10}
    found = service.post("/admin/compare", json=asked).json()
    expect(page.locator(".overlap")).to_have_text(f"{round(100 * found['overlap'])} %")
    ids = [item["item_id"] for item in found["served"]["items"]]
    for name, answer in (("Served", found["served"]), (old, found["other"])):
        links = page.get_by_role("region", name=name, exact=True).get_by_role("link")
        expect(links).to_have_count(10)
        for link, item in zip(links.all(), answer["items"], strict=True):
            assert str(link.get_attribute("href")).endswith(item["item_id"])
    other = page.get_by_role("region", name=old, exact=True)
    only = sum(item["item_id"] not in ids for item in found["other"]["items"])
    expect(other.get_by_text("only here")).to_have_count(only)
    picture(page, "studio-bundles")


def test_the_report_of_the_gate(service: RunningService, show: Show) -> None:
    new = service.get("/admin/bundles").json()["live_version"]
    report = service.get(f"/admin/bundles/{new}/report").json()
    page = show(f"bundles/{new}")
    section = page.get_by_role("region", name="Gate report")
    expect(section).to_contain_text(f"Compared with {report['live']}")
    expect(section).to_contain_text(f"{report['gate']['candidate']['recall@20']:.4f}")
    expect(section).to_contain_text("Passed")
    plots = section.locator(".plots img")
    expect(plots).to_have_count(2)
    page.wait_for_function(
        "[...document.querySelectorAll('.plots img')].every(one => one.naturalWidth > 0)"
    )


def test_a_rollback_asks_first(service: RunningService, show: Show) -> None:
    new, old = [bundle["version"] for bundle in service.get("/admin/bundles").json()["bundles"]]
    page = show("bundles")

    def live() -> str:
        return str(service.get("/admin/bundles").json()["live_version"])

    ask = page.get_by_role("button", name=f"Make {old} live")
    ask.click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(f"{old} replaces {new}")
    dialog.get_by_role("button", name="No").click()
    expect(dialog).to_be_hidden()
    assert live() == new
    ask.click()
    dialog.get_by_role("button", name="Yes, make it live").click()
    expect(page.locator("#status")).to_have_text(f"{old} is live.")
    assert live() == old
    assert service.get("/recommend/user-0001").json()["bundle_version"] == old
    expect(page.get_by_role("rowheader", name=f"{old} · live · served")).to_be_visible()
    page.get_by_role("button", name=f"Make {new} live").click()
    dialog.get_by_role("button", name="Yes, make it live").click()
    expect(page.locator("#status")).to_have_text(f"{new} is live.")
    assert live() == new


def test_an_unknown_bundle(show: Show) -> None:
    page = show("bundles/20260101T000000Z-00000000")
    expect(page.get_by_role("alert")).to_contain_text("The store has no bundle")
