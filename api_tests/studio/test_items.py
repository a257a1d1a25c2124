"""Tabs "An item" and "A new item", by clicking."""

import base64
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from api_tests.studio.conftest import Show
from tests.support.data.picture_shop import PictureShop
from tests.support.running.servers import RunningService
from training.demo.pictures import draw_product

pytestmark = pytest.mark.slow
TITLE = "Red mug with dots"
EVIL = "<img src=x onerror=alert(1)><b>Bold"
EVIL_ID = "\"'><script>alert(1)</script>"


def test_an_item_and_what_resembles_it(
    service: RunningService, show: Show, picture: Callable[[Page, str], None]
) -> None:
    page = show("item")
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_be_visible()
    item_id = page.get_by_label("Item", exact=True).input_value()
    item = service.get(f"/items/{item_id}").json()
    expect(heading).to_have_text(item["columns"]["title"] or item_id)
    expect(page.get_by_role("row", name="category")).to_contain_text(item["columns"]["category"])
    parts = [part["name"] for part in service.get("/info").json()["bundle"]["parts"]]
    for name, by in [("all together", "fused"), *((p, p) for p in parts if p != "popularity")]:
        section = page.get_by_role("region", name=f"Similar by {name}", exact=True)
        similar = service.get(f"/similar/{item_id}", by=by, k=6).json()["items"]
        expect(section.locator("li")).to_have_count(6)
        expect(section.locator("li").first).to_contain_text(
            similar[0]["title"] or similar[0]["item_id"]
        )
    users = service.get(f"/audience/{item_id}", k=10).json()["users"]
    for user in users:
        expect(page.locator(".people")).to_contain_text(user["user_id"])
    picture(page, "studio-item")
    page.get_by_role("region", name="Similar by image").get_by_role("link").first.click()
    expect(page.get_by_label("Item", exact=True)).not_to_have_value(item_id)


def test_an_unknown_item(show: Show) -> None:
    page = show("item/nothing", expected=("404",))
    expect(page.get_by_role("alert")).to_have_text("There is no item nothing.")


def test_titles_and_ids_are_text(service: RunningService, show: Show) -> None:
    [liked] = service.get("/recommend/user-0003", k=1).json()["items"]
    columns = {"columns": {"title": EVIL, "category": EVIL}}
    evil = quote(EVIL_ID, safe="")
    for path, more in ((liked["item_id"], {}), (evil, {"content": {"text": "red mug"}})):
        stored = service.client.put(f"/items/{path}", json=columns | more)
        assert stored.status_code == 200, stored.text
    page = show(f"item/{evil}")
    page.on("dialog", lambda _: pytest.fail("a script ran"))
    expect(page.get_by_role("heading", level=1)).to_have_text(EVIL)
    expect(page.locator(".about")).to_contain_text(EVIL_ID)
    foreign = "main b:has-text('Bold'), main script, main img[src=x]"
    expect(page.locator(".people, .sides").first).to_be_visible()
    assert page.locator(foreign).count() == 0
    page.evaluate("location.hash = '#/user/user-0003'")
    expect(page.locator(".card").first).to_contain_text(EVIL)
    assert page.locator(foreign).count() == 0
    service.client.delete(f"/items/{evil}")
    service.client.put(f"/items/{liked['item_id']}", json={})  # as it was


def test_a_new_item_is_previewed_published_and_discarded(
    service: RunningService, show: Show, picture: Callable[[Page, str], None], tmp_path: Path
) -> None:
    file = tmp_path / "mug.png"
    file.write_bytes(draw_product("mug", "red", "dotted", np.random.default_rng(0)))
    page = show("new")
    publish = page.get_by_role("button", name="Publish")
    expect(publish).to_be_disabled()
    page.get_by_label("Drop a picture here").set_input_files(file)
    similar = page.get_by_role("region", name="Most similar items")
    expect(similar.locator("li")).to_have_count(8)
    page.get_by_label("Title", exact=True).fill(TITLE)
    page.get_by_label("item_id").fill("brand new")
    content = {"image": base64.b64encode(file.read_bytes()).decode(), "text": TITLE}
    expected = service.post("/preview", json={"content": content, "k": 8}).json()
    people = page.get_by_role("region", name="For whom it would be")
    expect(people.get_by_role("link")).to_have_text([u["user_id"] for u in expected["audience"]])
    assert service.get("/items/brand%20new").status_code == 404
    page.get_by_text("More columns").click()
    page.get_by_label("price").fill("12.5")
    picture(page, "studio-new")
    publish.click()
    expect(page.get_by_text("It is recommended from now on")).to_be_visible()
    columns = service.get("/items/brand%20new").json()["columns"]
    assert (columns["title"], columns["price"]) == (TITLE, 12.5)
    user = expected["audience"][0]
    listed = service.get(f"/recommend/{user['user_id']}", k=user["rank"]).json()["items"]
    assert listed[-1]["item_id"] == "brand new"
    page.get_by_role("button", name="Discard it again").click()
    expect(page.get_by_text("brand new is gone.")).to_be_visible()
    assert service.get("/items/brand%20new").status_code == 404


def test_a_picture_is_dropped(shop: PictureShop, show: Show) -> None:
    page = show("new")
    raw = base64.b64encode(sorted((shop.pictures / "pictures").glob("*.png"))[1].read_bytes())

    def drop(data: str, name: str) -> None:
        page.locator(".drop").evaluate(
            """(box, [data, name]) => {
                const bytes = Uint8Array.from(atob(data), letter => letter.charCodeAt(0));
                const dataTransfer = new DataTransfer();
                dataTransfer.items.add(new File([bytes], name));
                box.dispatchEvent(new DragEvent("drop", { dataTransfer, cancelable: true }));
            }""",
            [data, name],
        )

    expect(page.locator(".drop")).to_be_visible()
    drop(base64.b64encode(b"nothing").decode(), "notes.txt")
    expect(page.locator("#status")).to_have_text("notes.txt cannot be read as a picture.")
    drop(raw.decode(), "mug.png")
    expect(page.get_by_alt_text("The new item's picture")).to_be_visible()
    expect(page.get_by_role("region", name="Most similar items").locator("li")).to_have_count(8)
