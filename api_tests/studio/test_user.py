"""Tab "A user", by clicking: lists, reasons, options, clicks that count, visitors."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from api_tests.studio.conftest import Show
from tests.support.running.servers import RunningService

pytestmark = pytest.mark.slow
USER = "user-0007"
K = 12


def recommended(service: RunningService, user: str = USER, **options: Any) -> list[str]:
    found = service.get(f"/recommend/{user}", k=K, **options).json()["items"]
    return [item["item_id"] for item in found]


def shown(page: Page) -> list[str]:
    return [str(card.get_attribute("data-item")) for card in page.locator(".card").all()]


def expect_list(page: Page, ids: list[str]) -> None:
    """Wait until the cards are those of some items, in their order."""
    page.wait_for_function(
        "ids => [...document.querySelectorAll('.card')].map(c => c.dataset.item).join() === ids",
        arg=",".join(ids),
    )


def test_a_first_visit_shows_somebody_with_reasons(
    service: RunningService, show: Show, picture: Callable[[Page, str], None]
) -> None:
    page = show()
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_contain_text("Recommended to user-")
    user = heading.inner_text().removeprefix("Recommended to ")
    expect(page.locator(".card")).to_have_count(K)
    assert shown(page) == recommended(service, user)
    answer = service.get(f"/recommend/{user}", k=K, explain=True).json()["items"][0]
    first = page.locator(".card").first
    described = str(first.locator(".bar").get_attribute("aria-label"))
    assert all(name in described for name in answer["parts"])
    assert first.locator(".segment").count() == sum(v > 0 for v in answer["parts"].values())
    assert first.locator(".because .thumbnail").count() == len(answer["because"])
    known = service.get(f"/users/{user}").json()["interactions"]
    expect(page.locator(".history .strip li")).to_have_count(min(len(known), 30))
    loaded = page.locator(".card img").first
    expect(loaded).to_be_visible()
    page.wait_for_function("document.querySelector('.card img').naturalWidth > 0")
    picture(page, "studio-user")


def test_clicks_count_at_once(service: RunningService, show: Show) -> None:
    page = show(f"user/{USER}")
    before = recommended(service)
    expect_list(page, before)
    page.locator(".card").first.locator(".like").click()
    expect(page.locator("#status")).to_contain_text("Liked")
    after = recommended(service)
    assert before[0] not in after
    expect_list(page, after)
    expect(page.locator(".moved").first).to_be_visible()
    expect(page.locator(".history h2").first).to_contain_text("1 since the last training")
    page.locator(".card").nth(2).locator(".dislike").click()
    expect(page.locator(".history")).to_contain_text("and not")
    expect_list(page, recommended(service))
    events = service.get(f"/users/{USER}").json()["events"]
    assert [(e["item_id"], e["type"], e["weight"]) for e in events] == [
        (before[0], "like", 1.0),
        (after[2], "dislike", -0.5),
    ]


def test_options_are_those_of_the_api(service: RunningService, show: Show) -> None:
    user = "user-0009"
    page = show(f"user/{user}")
    expect_list(page, recommended(service, user))
    page.get_by_label("behaviour", exact=True).fill("0")
    page.get_by_label("image", exact=True).fill("2.5")
    expect_list(page, recommended(service, user, weights="behaviour:0,image:2.5"))
    page.get_by_label("diversity", exact=True).fill("0.8")
    options = {"weights": "behaviour:0,image:2.5", "diversity": 0.8}
    expect_list(page, recommended(service, user, **options))
    page.get_by_label("Leave out what was seen").uncheck()
    expect_list(page, recommended(service, user, **options, exclude_seen=False))
    page.get_by_role("button", name="Back to the defaults").click()
    expect_list(page, recommended(service, user))
    page.get_by_role("button", name="Show more").click()
    expect(page.locator(".card")).to_have_count(2 * K)


def test_the_filter_completes_columns_and_values(service: RunningService, show: Show) -> None:
    user = "user-0011"
    page = show(f"user/{user}", expected=("422",))
    expect_list(page, recommended(service, user))
    box = page.get_by_role("combobox", name="Filter")
    box.press_sequentially("cat")
    expect(page.get_by_role("option", name="category")).to_be_visible()
    box.press("ArrowDown")
    box.press("Enter")
    expect(box).to_have_value("category ")
    page.get_by_role("option", name="=", exact=True).click()
    expect(box).to_have_value("category = ")
    chosen = page.get_by_role("option").first
    value = chosen.inner_text()
    chosen.click()
    box.press("Escape")
    box.press("Enter")
    expect_list(page, recommended(service, user, filter=f"category = {value}"))
    for item_id in shown(page):
        assert service.get(f"/items/{item_id}").json()["columns"]["category"] == value.strip('"')
    box.fill("price < ")
    box.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("filter:")
    box.fill("")
    box.press("Enter")
    expect_list(page, recommended(service, user))


def test_a_visitor_is_known_by_clicks_alone(service: RunningService, show: Show) -> None:
    events = service.metric("events_total")
    page = show()
    page.get_by_role("link", name="A visitor without an account").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Recommended to a visitor")
    expect(page.locator(".card")).to_have_count(K)
    assert page.locator(".bar").count() == 0  # popular items
    liked = shown(page)[0]
    page.locator(".card").first.locator(".like").click()
    body = {"items": [{"item_id": liked}], "k": K}
    items = service.post("/recommend/items", json=body).json()["items"]
    expect_list(page, [item["item_id"] for item in items])
    expect(page.locator(".bar").first).to_be_visible()
    expect(page.locator(".history .strip li")).to_have_count(1)
    disliked = shown(page)[3]
    page.locator(".card").nth(3).locator(".dislike").click()
    items = service.post("/recommend/items", json=body | {"disliked": [disliked]}).json()["items"]
    expect_list(page, [item["item_id"] for item in items])
    assert service.metric("events_total") == events


def test_somebody_unknown_gets_popular_items(service: RunningService, show: Show) -> None:
    page = show()
    expect(page.locator(".card")).to_have_count(K)
    page.get_by_label("User", exact=True).fill("no/body ?#")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Recommended to no/body ?#")
    expect(page.locator(".source")).to_contain_text("the most popular items")
    expect(page.locator(".history")).to_contain_text("Nothing is known of this user")
    expect_list(page, recommended(service, "no%2Fbody%20%3F%23"))
