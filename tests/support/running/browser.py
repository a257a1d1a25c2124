"""A real browser: Chromium, driven by Playwright, as a plugin with fixtures."""

import os
import shutil
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from tests.support.paths import ROOT
from tests.support.waiting import DEADLINE

UNPACKED = ROOT / "build" / "chromium"
"""Folder in which `make chromium` unpacks Debian's packages."""
NAMES = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
"""Containers have no user namespaces for the sandbox, and little shared memory."""
NO_CHROMIUM = "no Chromium: `make chromium` gets one"


def find_chromium() -> tuple[str, dict[str, str]] | None:
    """A browser's executable and the environment that it needs; None if there is none."""
    unpacked = UNPACKED / "usr" / "lib" / "chromium" / "chromium"
    if unpacked.exists():
        libraries = [*UNPACKED.glob("lib/*-linux-*"), *UNPACKED.glob("usr/lib/*-linux-*")]
        return str(unpacked), {"LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries))}
    named = os.environ.get("CHROMIUM")
    found = next(filter(None, map(shutil.which, [named] if named else NAMES)), None)
    return (found, {}) if found else None


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser for one module: Playwright keeps an event loop running, others need their own."""
    found = find_chromium()
    if found is None:
        pytest.skip(NO_CHROMIUM)
    path, environment = found
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=OPTIONS, env={**os.environ, **environment}
        )
        yield browser
        browser.close()


expect.set_options(timeout=1000 * DEADLINE)
OpenPage = Callable[..., Page]


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[OpenPage]:
    """A function that opens an address of a service.

    An error in a page's console and a request to another server fail the test at its end.

    Its keyword arguments are those of `Browser.new_page`, and `expected`: words of console errors
    that a test provokes.
    """
    pages: list[Page] = []
    problems: list[str] = []

    def open_one(url: str, expected: tuple[str, ...] = (), **options: Any) -> Page:
        page = chromium.new_page(**{"viewport": {"width": 1280, "height": 860}, **options})
        pages.append(page)
        page.set_default_timeout(1000 * DEADLINE)
        root = url.partition("/studio")[0]

        def heard(text: str) -> None:
            if not any(word in text for word in expected):
                problems.append(text)

        def written(message: ConsoleMessage) -> None:
            if message.type == "error":
                heard(message.text)

        def asked(request: Request) -> None:
            if not request.url.startswith((root, "blob:", "data:")):
                problems.append(f"asked for {request.url}")

        page.on("console", written)
        page.on("pageerror", lambda error: heard(str(error)))
        page.on("request", asked)
        page.goto(url)
        return page

    yield open_one
    for page in pages:
        page.close()
    assert not problems, "\n".join(problems)


def save_picture(page: Page, path: Path, quality: int = 80) -> None:
    """Save what a page shows as WebP."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(BytesIO(page.screenshot())) as image:
        image.save(path, "WEBP", quality=quality, method=6)
