"""Tab "Operations": numbers from the metrics, and what is wrong in words."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from api_tests.studio.conftest import Show, start_studio
from tests.support.data.picture_shop import PictureShop
from tests.support.running.browser import OpenPage
from tests.support.running.servers import RunningRedis, RunningService

pytestmark = pytest.mark.slow


def test_numbers_and_charts(
    service: RunningService, show: Show, picture: Callable[[Page, str], None]
) -> None:
    page = show("operations")
    version = service.get("/info").json()["bundle"]["version"]
    expect(page.get_by_text(version)).to_be_visible()
    expect(page.get_by_text("Everything works")).to_be_visible()
    users = [f"user-{number:04d}" for number in range(40)]
    for _ in range(2):
        for user in users:
            service.get(f"/recommend/{user}")
    hits = page.get_by_role("region", name="User vectors from a cache")
    expect(hits).to_contain_text(re.compile("since the start 50\\s%"))
    for name, total in (
        ("Failed requests", "since the start 0\u00a0%"),
        ("Median time of recommendations", " ms"),
        ("Requests per second", "since the start"),
    ):
        chart = page.get_by_role("region", name=name)
        expect(chart).to_contain_text(total)
    expect(chart.locator("path.line")).to_have_count(1)
    if os.environ.get("DREPMREC_SCREENSHOTS"):  # some traffic, for charts that are worth a look
        for number in range(700):
            service.get(f"/recommend/user-{number % 90:04d}")
            page.wait_for_timeout(number % 60)
    picture(page, "studio-operations")


def test_what_is_wrong_is_said_with_a_link_to_the_runbook(
    shop: PictureShop, open_page: OpenPage, redis_server: RunningRedis, tmp_path: Path
) -> None:
    service = start_studio(shop, tmp_path, redis_url=redis_server.url, breaker_reset=0.5)
    try:
        page = open_page(f"{service.url}/studio#/operations")
        expect(page.get_by_text("Everything works")).to_be_visible()
        redis_server.kill()
        trouble = page.get_by_text("Redis does not answer, or takes no writes.")
        service.get("/recommend/user-0001")
        expect(trouble).to_be_visible()
        trouble.get_by_role("link", name="What to do").click()
        expect(page.locator("#drepmrecredisdegraded")).to_be_in_viewport()
        page.get_by_role("link", name="Back to the studio").click()
        redis_server.start()
        expect(page.get_by_text("Everything works")).to_be_visible()
        page.close()  # before the service that it keeps asking
    finally:
        service.close()


def test_several_workers_are_one_service(
    shop: PictureShop, open_page: OpenPage, tmp_path: Path
) -> None:
    """Numbers that only a single process knows of itself are left open, not wrong."""
    service = start_studio(shop, tmp_path, workers=2)
    try:
        page = open_page(f"{service.url}/studio#/user/user-0001")
        page.locator(".like").first.click()
        expect(page.locator("#status")).to_contain_text("Liked")
        page.get_by_role("link", name="Operations").click()
        requests = page.get_by_role("region", name="Requests per second")
        expect(requests).to_contain_text("since the start —")
        expect(requests.locator("path.line")).to_have_count(1)
        median = page.get_by_role("region", name="Median time of recommendations")
        expect(median).to_contain_text(re.compile(r"since the start [\d.]+ ms"))
        page.close()  # before the service that it keeps asking
    finally:
        service.close()
