"""The page as such: access, files and policy; a phone, a keyboard, the dark, readers of screens."""

import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from api_tests.studio.conftest import Show, start_studio
from service.api.studio import FILES
from service.redaction import new_key
from tests.support.data.picture_shop import PictureShop
from tests.support.running.api_keys import KEYS, entries
from tests.support.running.browser import OpenPage
from tests.support.running.servers import RunningService

pytestmark = pytest.mark.slow
TABS = {
    "user/user-0002": ".card",
    "session": ".card",
    "item": ".people",
    "new": ".drop",
    "bundles": ".overlap",
    "operations": ".chart",
}
"""Selector, by tab, of an element that is there when the tab is complete."""
PHONE = {"viewport": {"width": 375, "height": 720}, "has_touch": True, "is_mobile": True}


def serious(page: Page) -> list[str]:
    """Violations that keep people from using the page, by axe-core."""
    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {one['help']}: {[node['html'] for node in one['nodes']][:3]}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_it(show: Show, scheme: str) -> None:
    page = show("user/user-0002", color_scheme=scheme, reduced_motion="reduce")
    page.locator(".like").first.click()
    expect(page.locator(".moved").first).to_be_visible()
    assert serious(page) == []
    for place, complete in TABS.items():
        page.evaluate(f"location.hash = '#/{place}'")
        expect(page.locator(complete).first).to_be_visible()
        page.wait_for_load_state("networkidle")
        assert serious(page) == [], place
    page.goto(page.url.partition("#")[0] + "/runbook.html")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert serious(page) == []


def test_a_phone_is_wide_enough(show: Show) -> None:
    page = show("user/user-0002", **PHONE)
    for place, complete in TABS.items():
        page.evaluate(f"location.hash = '#/{place}'")
        expect(page.locator(complete).first).to_be_visible()
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 375, f"{place} is {width} pixels wide"


def test_it_works_by_keyboard(service: RunningService, show: Show) -> None:
    page = show("user/user-0004")
    expect(page.locator(".card").first).to_be_visible()
    first = service.get("/recommend/user-0004", k=1).json()["items"][0]["item_id"]
    pressed = 0
    while "Like " not in page.evaluate("document.activeElement.ariaLabel ?? ''"):
        page.keyboard.press("Tab")
        pressed += 1
        assert pressed < 80, "no heart can be reached"
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_contain_text("Liked")
    assert service.get("/users/user-0004").json()["events"][0]["item_id"] == first
    # The focus is not lost with the card.
    assert page.evaluate("document.activeElement.tagName") == "H1"
    page.get_by_label("diversity", exact=True).focus()
    page.keyboard.press("End")
    expect(page.locator("output[for=diversity]")).to_have_text("1")
    page.get_by_role("link", name="An item").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".people")).to_be_visible()


def test_a_key_is_asked_for(shop: PictureShop, open_page: OpenPage, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    scopes = ["read", "write", "admin"]
    everything, reader = entries("admin", scopes=scopes), entries("reader")
    keys.write_text(everything[:-1] + "," + reader[1:])
    service = start_studio(shop, tmp_path, keys=keys)
    try:
        for path in ("/studio", "/studio/api.js"):
            assert service.get(path).status_code == 200
        page = open_page(f"{service.url}/studio", expected=("401", "403"))
        box = page.get_by_label("API key")
        for wrong in (new_key(), KEYS["reader"]):
            box.fill(wrong)
            page.get_by_role("button", name="Open").click()
            expect(page.get_by_role("alert")).to_contain_text("Not with this key")
            assert page.get_by_role("navigation").get_by_role("link").count() == 0
        assert serious(page) == []
        box.fill(KEYS["admin"])
        page.get_by_role("button", name="Open").click()
        expect(page.locator(".card")).to_have_count(12)
        # Pictures need the key, too, which an image element cannot send.
        page.wait_for_function("document.querySelector('.card img').naturalWidth > 0")
        assert str(page.locator(".card img").first.get_attribute("src")).startswith("blob:")
        page.reload()
        expect(page.locator(".card")).to_have_count(12)
    finally:
        service.close()


def test_a_service_that_ends_is_said(
    shop: PictureShop, open_page: OpenPage, tmp_path: Path
) -> None:
    service = start_studio(shop, tmp_path)
    try:
        page = open_page(f"{service.url}/studio", expected=("ERR_CONNECTION_REFUSED",))
        expect(page.locator(".card")).to_have_count(12)
        service.terminate()
        page.get_by_role("button", name="Show more").click()
        expect(page.get_by_role("alert").first).to_have_text("The service does not answer.")
    finally:
        service.close()


def test_files_are_static_and_nothing_is_inline(service: RunningService) -> None:
    names = sorted(path.name for path in FILES.iterdir())
    for name in names:
        answer = service.get(f"/studio/{name}")
        assert answer.status_code == 200, name
        assert answer.content == (FILES / name).read_bytes()
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        text = answer.text
        if name.endswith(".html"):
            assert not re.search(r"<style|<script(?![^>]* src=)|<[^>]* (on\w+|style)=", text), name
        if name.endswith(".js"):
            for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "DOMParser"):
                assert word not in text, name
            for imported in re.findall(r'from "\./([^"]+)"', text):
                assert imported in names
    assert service.get("/studio").content == (FILES / "index.html").read_bytes()
    for path in ("/studio/", "/studio/nothing.js", "/studio/..%2Fstudio.py"):
        assert service.get(path).status_code == 404
