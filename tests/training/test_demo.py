"""The demo shop: the same for one seed, with tastes that can be counted."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bundle.errors import InputError
from training.demo.catalogue import NOISE, TRUTH_FILE, Truth, make_catalogue, taste_hit_rate
from training.demo.pictures import COLOURS, PATTERNS, SIDE
from training.demo.shapes import SHAPES
from training.demo.truth import read_truth
from training.demo.words import HUES, LOOKS, NOUNS


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    out = tmp_path_factory.mktemp("demo") / "shop"
    return out, make_catalogue(out, n_items=400, n_users=300)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("a", "b", "other")]
    for folder, seed in zip(folders, (7, 7, 8), strict=True):
        make_catalogue(folder, n_items=100, n_users=20, seed=seed)
    contents = [
        {p.relative_to(f).as_posix(): p.read_bytes() for p in f.rglob("*") if p.is_file()}
        for f in folders
    ]
    assert contents[0] == contents[1]
    assert contents[0]["items.csv"] != contents[2]["items.csv"]
    assert len(contents[0]) == 3 + 96


@pytest.mark.slow
def test_items_have_pictures_titles_and_gaps(shop: tuple[Path, Truth]) -> None:
    out, truth = shop
    items = table(out / "items.csv")
    assert list(items[0]) == ["item_id", "title", "category", "colour", "price", "image"]
    assert [item["item_id"] for item in items] == list(truth.looks)
    assert sum(not item["image"] for item in items) == 16
    assert sum(not item["title"] for item in items) == 12
    assert all(item["title"] or item["image"] for item in items)
    assert len({item["title"] for item in items}) > 250
    said: Counter[str] = Counter()
    for item in items:
        look = truth.looks[item["item_id"]]
        assert (item["category"], item["colour"]) == (look.category, look.colour)
        assert float(item["price"]) > 0
        title = item["title"].lower()
        said["category"] += any(noun in title for noun in NOUNS[look.category])
        said["colour"] += any(hue in title for hue in HUES[look.colour])
        said["pattern"] += any(w and w in title for pair in LOOKS[look.pattern] for w in pair)
        if item["image"]:
            with Image.open(out / item["image"]) as picture:
                assert (picture.size, picture.mode) == ((SIDE, SIDE), "RGB")
    assert said["category"] == 388
    assert 330 < said["colour"] < 388
    assert 200 < said["pattern"] < 388


def test_interactions_follow_the_planted_tastes(shop: tuple[Path, Truth]) -> None:
    out, truth = shop
    rows = table(out / "interactions.csv")
    times = [int(row["timestamp"]) for row in rows]
    assert times == sorted(times)
    pairs = [(row["user_id"], row["item_id"]) for row in rows]
    assert len(set(pairs)) == len(pairs)
    for user_id, seen in truth.seen.items():
        assert [item for user, item in pairs if user == user_id] == seen
        assert 1 <= len(truth.tastes[user_id]) <= 3
        assert len(seen) >= 5
        assert len(truth.wanted(user_id)) >= 8
        assert truth.wanted(user_id) | set(seen) >= truth.matching(user_id)
    rates = [taste_hit_rate(truth, user_id, seen) for user_id, seen in truth.seen.items()]
    assert np.mean(rates) == pytest.approx(1 - NOISE, abs=0.03)

    sold = Counter(item for _, item in pairs)
    assert sorted(set(truth.looks) - set(sold)) == sorted(truth.cold)
    assert truth.cold
    top = sum(count for _, count in sold.most_common(40))
    assert 0.15 < top / len(pairs) < 0.6  # the best-selling tenth


def test_hit_rate_of_known_lists(shop: tuple[Path, Truth]) -> None:
    _, truth = shop
    for user_id in list(truth.tastes)[:20]:
        right = sorted(truth.wanted(user_id))
        wrong = sorted(set(truth.looks) - truth.matching(user_id))
        assert taste_hit_rate(truth, user_id, right) == 1
        assert taste_hit_rate(truth, user_id, wrong) == 0
        assert taste_hit_rate(truth, user_id, [right[0], wrong[0], wrong[1], wrong[2]]) == 0.25
        assert taste_hit_rate(truth, user_id, ["no such item"]) == 0
    assert taste_hit_rate(truth, user_id, []) == 0
    with pytest.raises(KeyError):
        taste_hit_rate(truth, "nobody", [])


def test_the_truth_is_written_and_read(shop: tuple[Path, Truth], tmp_path: Path) -> None:
    out, truth = shop
    assert read_truth(out / TRUTH_FILE) == truth
    with pytest.raises(InputError, match="cannot be read as planted tastes"):
        read_truth(tmp_path / TRUTH_FILE)


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least 100 items"):
        make_catalogue(tmp_path / "shop", n_items=99)
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(InputError, match="is not empty"):
        make_catalogue(tmp_path)


def test_every_look_has_words() -> None:
    assert set(NOUNS) == set(SHAPES)
    assert set(HUES) == set(COLOURS)
    assert set(LOOKS) == set(PATTERNS)
