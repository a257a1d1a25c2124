"""Pictures of items, with image paths outside of their folder, too."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from bundle.store.store import BundleStore
from service.app import create_app
from service.settings import Settings
from tests.support.data.bundles import make_contents

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
    table = contents.item_table.append_column("image", [paths + [None] * 15])
    store = tmp_path / "store"
    changed = {**vars(contents), "item_table": table}
    BundleStore(store).publish(type(contents)(**changed))
    return store, pictures


def make_app(shop: tuple[Path, Path], with_pictures: bool = True) -> FastAPI:
    store, pictures = shop
    return create_app(Settings(store=str(store), pictures=pictures if with_pictures else None))


def test_pictures_are_read_from_the_folder_and_nowhere_else(shop: tuple[Path, Path]) -> None:
    with TestClient(make_app(shop)) as client:
        picture = client.get("/pictures/item-0")
        assert (picture.status_code, picture.headers["content-type"]) == (200, "image/png")
        for item in ("item-1", "item-2", "item-3", "item-4", "item-9", "unknown", "..%2Fsecret"):
            refused = client.get(f"/pictures/{item}")
            assert refused.status_code == 404
            assert SECRET not in refused.content


TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "GIF": "image/gif", "WEBP": "image/webp"}


def test_pictures_have_the_type_of_their_content(shop: tuple[Path, Path]) -> None:
    """Whatever their names say; a page or a table is none, nor is a file that cannot be opened."""
    _, folder = shop
    served: dict[str, str] = {}
    for kind, media_type in TYPES.items():
        Image.new("RGB", (8, 8), "teal").save(folder / f"{kind}.html", kind)
        served[f"{kind}.html"] = media_type
    (folder / "x.avif").write_bytes(b"\0\0\0\x20ftypavif" + bytes(32))
    served["x.avif"] = "image/avif"
    others = {
        "page.png": b"<html><script>alert(1)</script>",
        "drawing.svg": b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>",
        "interactions.csv": b"user_id,item_id\nu,i\n",
        "empty.png": b"",
        "short.png": b"\x89PNG",
    }
    for name, content in others.items():
        (folder / name).write_bytes(content)
    (folder / "folder.png").mkdir()
    names = [*others, "folder.png", ".", "/", "a" * 5000, "a/" * 3000, "a\0b", "x" * 300 + ".png"]
    with TestClient(make_app(shop)) as client:

        def ask(path: str) -> Any:
            changed = client.put("/items/item-7", json={"columns": {"image": path}})
            assert changed.status_code == 200, changed.text
            return client.get("/pictures/item-7")

        for name, media_type in served.items():
            picture = ask(name)
            assert (picture.status_code, picture.headers["content-type"]) == (200, media_type)
            assert picture.content == (folder / name).read_bytes()
            assert picture.headers["x-content-type-options"] == "nosniff"
            assert picture.headers["content-security-policy"] == "default-src 'none'; sandbox"
        for name in names:
            refused = ask(name)
            assert refused.status_code == 404, name
            assert refused.json()["error"]["code"] == "unknown_item"


def test_ids_are_those_of_the_api(shop: tuple[Path, Path]) -> None:
    with TestClient(make_app(shop)) as client:
        for path in ("/pictures/%FF", "/pictures/" + "x" * 257, "/pictures/item-0?size=8"):
            assert client.get(path).status_code == 422


def test_without_a_folder_there_are_no_pictures(shop: tuple[Path, Path]) -> None:
    with TestClient(make_app(shop, with_pictures=False)) as client:
        refused = client.get("/pictures/item-0")
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "unknown_item")
