"""The pages to look at, with real pictures, and with paths that lead elsewhere."""

from pathlib import Path

import numpy as np
import pytest
from bundle_builders import make_contents
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from bundle.store import BundleStore
from service.app import create_app
from service.settings import Settings

SECRET = b"not a picture"


@pytest.fixture
def shop(tmp_path: Path) -> tuple[Path, Path]:
    """A store and a folder with pictures; items 0…3 have image paths of all kinds."""
    pictures = tmp_path / "shop"
    (pictures / "pictures").mkdir(parents=True)
    Image.new("RGB", (8, 8), "teal").save(pictures / "pictures" / "0.png")
    (tmp_path / "secret").write_bytes(SECRET)
    (pictures / "link").symlink_to(tmp_path / "secret")
    contents = make_contents(30, 20, 8, rng=np.random.default_rng(0), user_ids=None)
    paths = ["pictures/0.png", "../secret", str(tmp_path / "secret"), "link", None]
    titles = ["<script>alert(1)</script>", *contents.item_table["title"].to_pylist()[1:]]
    table = contents.item_table.drop_columns("title")
    table = table.append_column("title", [titles]).append_column("image", [paths + [None] * 15])
    store = tmp_path / "store"
    changed = {**vars(contents), "item_table": table}
    BundleStore(store).publish(type(contents)(**changed))
    return store, pictures


def make_app(shop: tuple[Path, Path], browse: bool = True) -> FastAPI:
    store, pictures = shop
    return create_app(Settings(store=store, pictures=pictures if browse else None))


def test_pages_show_history_recommendations_and_similar_items(shop):
    with TestClient(make_app(shop)) as client:
        page = client.get("/browse/user-5").text
        assert "Liked (" in page
        assert "Recommended" in page
        best = client.get("/recommend/user-5").json()["items"]
        for item in best:
            assert f"/browse/items/{item['item_id']}" in page
        assert "Popular items" in client.get("/browse/nobody").text
        similar = client.get("/similar/item-0").json()["items"]
        page = client.get("/browse/items/item-0").text
        assert all(item["item_id"] in page for item in similar)


def test_titles_are_escaped(shop):
    with TestClient(make_app(shop)) as client:
        page = client.get("/browse/items/item-0").text
        assert "<script>alert" not in page
        assert "&lt;script&gt;" in page


def test_pictures_come_from_the_folder_and_from_nowhere_else(shop):
    with TestClient(make_app(shop)) as client:
        picture = client.get("/browse/pictures/item-0")
        assert (picture.status_code, picture.headers["content-type"]) == (200, "image/png")
        for item in ("item-1", "item-2", "item-3", "item-4", "item-9", "unknown", "..%2Fsecret"):
            refused = client.get(f"/browse/pictures/{item}")
            assert refused.status_code == 404
            assert SECRET not in refused.content


def test_there_are_no_pages_unless_asked_for(shop):
    with TestClient(make_app(shop, browse=False)) as client:
        assert client.get("/browse/user-5").status_code == 404
