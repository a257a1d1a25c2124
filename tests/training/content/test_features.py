"""Feature files: known answers, broken content, resuming, real posters."""

import io
import json
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bundle.content.encoders import ImageEncoder
from bundle.content.onnx_model import Prepared
from bundle.errors import InputError
from tests.support.data.real_data import real_data
from training.content.cache import CACHE_FILE, VectorCache
from training.content.features import extract_features
from training.demo.catalogue import make_catalogue

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def cache(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test alone, which knows the exported encoder and no vectors."""
    folder = tmp_path / "cache" / "drepmrec"
    folder.mkdir(parents=True)
    for encoder in exported.glob("efficientnet-*"):
        (folder / encoder.name).symlink_to(encoder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder.parent))
    return folder


def write_items(data: Path, rows: Sequence[dict[str, Any]]) -> None:
    data.mkdir(exist_ok=True)
    lines = [json.dumps({"item_id": f"i{n}", **row}) for n, row in enumerate(rows)]
    (data / "items.jsonl").write_text("\n".join(lines))


def neighbour_share(features: np.ndarray, labels: Sequence[str], k: int = 5) -> float:
    """Share of the k nearest neighbours (cosine) that have the item's own label."""
    rows = np.flatnonzero(features.any(axis=1))
    unit = features[rows] / np.linalg.norm(features[rows], axis=1, keepdims=True)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -2)
    own = np.array(labels)[rows]
    return float((own[np.argsort(-cosine, axis=1)[:, :k]] == own[:, None]).mean())


def test_neighbours_share_looks_and_a_second_run_encodes_nothing(tmp_path: Path) -> None:
    data = tmp_path / "shop"
    truth = make_catalogue(data, n_items=400, n_users=5)
    looks = list(truth.looks.values())
    report = extract_features(data, ["title"], "image", threads=2, progress=False)

    text, image = np.load(data / "text_feat.npy"), np.load(data / "image_feat.npy")
    assert (text.shape, text.dtype) == ((400, 384), np.float32)
    assert (image.shape, image.dtype) == ((400, 1280), np.float32)
    # Chance: 1/6 for the category, 1/4 for colour and pattern.
    for features, category, colour, pattern in ((text, 0.8, 0.4, 0.4), (image, 0.9, 0.4, 0.7)):
        assert neighbour_share(features, [v.category for v in looks]) > category
        assert neighbour_share(features, [v.colour for v in looks]) > colour
        assert neighbour_share(features, [v.pattern for v in looks]) > pattern
    assert np.allclose(np.linalg.norm(text[text.any(axis=1)], axis=1), 1, atol=1e-5)
    assert [m.n_absent for m in report.modalities] == [12, 16]
    assert int((~image.any(axis=1)).sum()) == 16

    again = extract_features(data, ["title"], "image", threads=2, progress=False)
    assert [m.n_encoded for m in again.modalities] == [0, 0]
    assert np.array_equal(np.load(data / "image_feat.npy"), image)
    assert np.array_equal(np.load(data / "text_feat.npy"), text)
    assert not list(data.glob(".*"))


def test_pictures_of_all_modes_and_broken_ones(tmp_path: Path) -> None:
    data = tmp_path / "shop"
    data.mkdir()
    rng = np.random.default_rng(3)
    ramp = np.linspace(0, 255, 96 * 64).reshape(64, 96)
    grey = Image.fromarray(ramp.astype(np.uint8))
    alpha = Image.merge("LA", (grey, grey.transpose(Image.Transpose.ROTATE_180)))
    palette = grey.convert("RGB").quantize(16)
    good: dict[str, Image.Image] = {
        "grey.png": grey,
        "alpha.png": alpha,
        "rgba.png": alpha.convert("RGBA"),
        "palette.png": palette,
        "sixteen.png": Image.fromarray((ramp * 257).astype(np.uint16)),
        "cmyk.jpg": grey.convert("CMYK"),
        "one.png": grey.convert("1"),
        "real.tiff": Image.fromarray((ramp / 255).astype(np.float32)),
        "large.jpg": Image.fromarray(rng.integers(0, 255, (900, 1200, 3), np.uint8)),
        "tiny.gif": Image.new("RGB", (1, 1), "red"),
    }
    for name, image in good.items():
        image.save(data / name)
    palette.save(data / "see_through.png", transparency=bytes(range(0, 256, 16)))
    whole = io.BytesIO()
    good["large.jpg"].save(whole, "JPEG")
    (data / "cut.jpg").write_bytes(whole.getvalue()[:2000])
    (data / "page.jpg").write_text("<html>not found</html>")
    (data / "empty.png").touch()
    (data / "folder.png").mkdir()
    os.mkfifo(data / "pipe.png")
    # Small files that claim to be huge.
    for name, side in (("bomb.png", 30_000), ("poster.png", 7_000)):
        file = bytearray((data / "grey.png").read_bytes())
        file[16:24] = side.to_bytes(4, "big") * 2
        file[29:33] = zlib.crc32(file[12:29]).to_bytes(4, "big")
        (data / name).write_bytes(file)
    bad = ["cut.jpg", "page.jpg", "empty.png", "folder.png", "pipe.png", "bomb.png", "poster.png"]
    bad += ["gone.png", "http://shop.example/a.png", "a\0b.png", "x" * 300, "../gone.png"]
    names = [*good, "see_through.png", *bad]
    write_items(data, [{"image": name} for name in [*names, None, "  "]])

    (report,) = extract_features(data, [], "image", threads=2, progress=True).modalities
    assert (report.n_encoded, report.n_broken, report.n_absent) == (11, len(bad), 2)
    assert [p.source for p in report.broken] == bad[:10]
    assert report.broken[0].item_id == "i11"
    reasons = {p.source: p.reason for p in report.broken}
    assert reasons["gone.png"] == "no such file"
    assert reasons["page.jpg"] == "not a picture, or of an unknown format"
    assert "truncated" in reasons["cut.jpg"]
    assert reasons["bomb.png"] == "30000 × 30000 pixels are too many: at most 64,000,000"
    assert reasons["poster.png"] == (
        "7000 × 7000 pixels are too many: decoding this PNG takes 468 MiB of memory, "
        "at most 384 MiB are allowed"
    )
    assert reasons["pipe.png"] == reasons["folder.png"] == "not a file"
    assert len(report.lines()) == 11

    image = np.load(data / "image_feat.npy")
    assert image[:11].any(axis=1).all()
    assert not image[11:].any()
    # The same grey ramp, whatever the mode.
    unit = image[:11] / np.linalg.norm(image[:11], axis=1, keepdims=True)
    for name in ("sixteen.png", "cmyk.jpg", "real.tiff"):
        assert unit[0] @ unit[names.index(name)] > 0.98, name


def test_a_column_that_the_first_item_lacks(tmp_path: Path) -> None:
    write_items(tmp_path, [{}, {"title": "2020-01-01"}, {"title": "a mug"}])
    (report,) = extract_features(tmp_path, ["title"], None, threads=1, progress=False).modalities
    assert (report.n_encoded, report.n_absent) == (2, 1)


def test_an_interrupted_run_continues_where_it_stopped(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "shop"
    make_catalogue(data, n_items=100, n_users=5)
    (data / "image_feat.npy").write_bytes(b"old")
    encode, calls = ImageEncoder.encode, 0

    def interrupted(self: ImageEncoder, batch: Sequence[Prepared]) -> Any:
        nonlocal calls
        calls += 1
        if calls > 15:
            raise KeyboardInterrupt
        return encode(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(ImageEncoder, "encode", interrupted)
        with pytest.raises(KeyboardInterrupt):
            extract_features(data, [], "image", batch_size=4, threads=1, progress=False)
    assert (data / "image_feat.npy").read_bytes() == b"old"
    with VectorCache(cache / CACHE_FILE) as vectors:
        assert len(vectors) == 32  # one commit; the first call was the encoder's own check

    (report,) = extract_features(data, [], "image", threads=1, progress=False).modalities
    assert (report.n_cached, report.n_encoded) == (32, 64)
    resumed = np.load(data / "image_feat.npy")
    (cache / CACHE_FILE).write_bytes(
        b"this is no database" * 100
    )  # and a damaged cache is replaced
    extract_features(data, [], "image", threads=1, progress=False)
    assert np.allclose(np.load(data / "image_feat.npy"), resumed, atol=1e-4)


def test_texts_join_columns_and_absent_ones_are_counted(tmp_path: Path) -> None:
    data = tmp_path / "shop"
    rows: list[dict[str, Any]] = [
        {"title": "Toy Story", "genres": ["Animation", "Comedy"], "year": 1995},
        {"title": "Toy Story. Animation, Comedy. 1995", "genres": None, "year": None},
        {"title": None, "genres": [], "year": None},
        {"title": "  ", "genres": ["Horror"], "year": None},
    ]
    write_items(data, rows)
    columns = ["title", "genres", "year"]
    (report,) = extract_features(data, columns, None, threads=1, progress=False).modalities
    text = np.load(data / "text_feat.npy")
    assert report.n_absent == 1
    assert np.array_equal(text[0], text[1])
    assert text[0] @ text[3] < 0.9
    assert not text[2].any()


@pytest.mark.parametrize(
    ("files", "columns", "image", "message"),
    [
        ({}, ["title"], None, "none of items.parquet, items.csv, items.jsonl"),
        ({"items.csv": "item_id\na\n", "items.jsonl": "{}"}, ["t"], None, "several of"),
        ({"items.csv": "item_id,title\na,b\n"}, [], None, "give text columns, an image column"),
        ({"items.csv": "item_id,title\na,b\n"}, ["name"], None, "items.csv, column 'name'"),
        ({"items.csv": "id,title\na,b\n"}, ["title"], None, "items.csv, column 'item_id'"),
        ({"items.csv": "item_id,t\na,b\na,c\n"}, ["t"], None, "'a' occurs twice"),
        ({"items.csv": "item_id,t\n,b\n"}, ["t"], None, "items.csv, line 2, column 'item_id'"),
        ({"items.csv": 'item_id,t\na,"b\nc,d\n'}, ["t"], None, "items.csv, line 2: a quoted field"),
        ({"items.jsonl": '{"item_id": "a", "t": {"x": 1}}'}, ["t"], None, "line 1, column 't'"),
        ({"items.jsonl": '{"item_id": "a", "i": 3}'}, [], "i", "not the path of a picture"),
        ({"items.jsonl": '{"itemID": 1, "t": "x"}', "a.inter": ""}, ["t"], None, "expected 0"),
    ],
)
def test_bad_input_is_named(
    tmp_path: Path, files: dict[str, str], columns: list[str], image: str | None, message: str
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError) as caught:
        extract_features(tmp_path, columns, image, threads=1, progress=False)
    assert message in str(caught.value)
    assert not list(tmp_path.glob("*_feat.npy"))


def test_a_data_folder_or_cache_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "shop"
    write_items(data, [{"title": "Red mug"}])
    (data / "text_feat.npy").mkdir()
    with pytest.raises(InputError, match=r"text_feat\.npy: cannot be written"):
        extract_features(data, ["title"], None, threads=1, progress=False)
    assert not list(data.glob(".*"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(data / "items.jsonl"))
    with pytest.raises(InputError, match="set XDG_CACHE_HOME"):
        extract_features(data, ["title"], None, threads=1, progress=False)


def test_real_posters_and_descriptions(tmp_path: Path) -> None:
    source = real_data("movielens-100k")
    lines = (source / "items.jsonl").read_text().splitlines()[:50]
    data = tmp_path / "movielens"
    data.mkdir()
    # A way out of the data folder by "..", as in the original.
    (tmp_path / "movielens-1m").symlink_to(real_data("movielens-1m").resolve())
    (data / "items.jsonl").write_text("\n".join(lines))
    images = [json.loads(line)["image"] for line in lines]
    columns = ["title", "text"]
    text, image = extract_features(data, columns, "image", threads=2, progress=False).modalities
    assert (text.n_encoded, text.n_broken) == (50, 0)
    assert (image.n_encoded, image.n_broken) == (sum(map(bool, images)), 0)
    present = np.load(data / "image_feat.npy").any(axis=1)
    assert present.tolist() == [bool(i) for i in images]
