"""The studio of a running service, in a browser.

`DREPMREC_DEMO=demo` takes the shop that `make demo` made instead of a small one, and
`DREPMREC_SCREENSHOTS=docs/images` keeps the pictures that the tests take of it.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from bundle.store.store import BundleStore
from tests.support.data.picture_shop import PictureShop, make_picture_shop
from tests.support.running.browser import OpenPage, chromium, open_page, save_picture
from tests.support.running.servers import RunningService

__all__ = ["chromium", "open_page"]

Show = Callable[..., Page]


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> PictureShop:
    """A shop with pictures and two bundles."""
    folder = tmp_path_factory.mktemp("shop")
    demo = os.environ.get("DREPMREC_DEMO")
    if demo is None:
        return make_picture_shop(folder)
    # Without its events, which somebody may have clicked.
    store = shutil.copytree(
        Path(demo) / "store", folder / "store", ignore=shutil.ignore_patterns("state*", "run")
    )
    encoders = {name: Path(demo) / "encoders" / name for name in ("text", "image")}
    return PictureShop(BundleStore(store), Path(demo) / "shop", encoders)


@pytest.fixture(scope="module")
def service(
    shop: PictureShop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningService]:
    """A service with the studio, and with a state of its own."""
    folder = tmp_path_factory.mktemp("service")
    running = start_studio(shop, folder)
    yield running
    running.close()


def start_studio(shop: PictureShop, folder: Path, **options: Any) -> RunningService:
    encoders = {name: str(path) for name, path in shop.encoders.items()}
    return RunningService(
        Path(shop.store.root),
        folder / "log",
        studio=True,
        pictures=shop.pictures,
        content_encoders=json.dumps(encoders),
        state=folder / "state.sqlite3",
        **options,
    )


@pytest.fixture
def show(service: RunningService, open_page: OpenPage) -> Show:
    """A function that opens a place of the studio, such as `user/user-0001`."""

    def show_one(place: str = "", **options: Any) -> Page:
        return open_page(f"{service.url}/studio{f'#/{place}' if place else ''}", **options)

    return show_one


@pytest.fixture
def picture() -> Callable[[Page, str], None]:
    """A function that keeps what a page shows, if pictures are wanted."""
    folder = os.environ.get("DREPMREC_SCREENSHOTS")

    def keep(page: Page, name: str) -> None:
        if folder is not None:
            page.mouse.move(0, 0)
            page.wait_for_load_state("networkidle")
            save_picture(page, Path(folder) / f"{name}.webp")

    return keep
