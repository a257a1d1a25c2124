"""Generator of the synthetic shop: drawn products, titles, and users with known tastes.

It contains nobody's data, and since users' tastes are known, correct recommendations can be
counted.
"""

import csv
from collections.abc import Iterable, Sequence
from functools import cache
from math import isqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bundle.errors import InputError
from training.demo.pictures import COLOURS, PATTERNS, draw_product
from training.demo.shapes import SHAPES
from training.demo.truth import Looks, Taste, Truth, taste_hit_rate, write_truth
from training.demo.words import write_title

__all__ = ["TRUTH_FILE", "Truth", "make_catalogue", "taste_hit_rate"]

TRUTH_FILE = "planted_tastes.json"

MIN_ITEMS = 100
"""Minimum number of items; with fewer, a taste has too few items to have seen some of them only."""

ITEMS_OF_TASTE = 25
"""Approximate minimum number of items of one category in one colour."""

NO_PICTURE, NO_TITLE, COLD = 0.04, 0.03, 0.03
"""Fractions of items without picture, without title (never both) and without interactions."""

NOISE = 0.12
"""Fraction of interactions that follow popularity instead of a taste."""

OPENED_S, OPEN_S, VISITING_S = 1_735_689_600, 180 * 86_400, 30 * 86_400
"""The shop's first day (2025-01-01), its opening period and a user's active period, in seconds."""


def make_catalogue(out: Path, *, n_items: int = 3000, n_users: int = 4000, seed: int = 7) -> Truth:
    """Write items.csv, interactions.csv, pictures/ and planted_tastes.json, deterministically.

    Each user has one to three tastes, such as blue mugs or striped hats, and has seen at most half
    of the matching items. Titles describe the looks in varying words and sometimes incompletely.

    Args:
        out: output folder, empty or absent.
        n_items: number of items, at least MIN_ITEMS; more items have more categories, colours and
            patterns.
        n_users: number of users, at least 1.
        seed: seed of all random numbers.

    Returns:
        Looks of all items and tastes of all users.

    Raises:
        InputError: a number is too small, or `out` is not empty.
    """
    if n_items < MIN_ITEMS or n_users < 1:
        raise InputError(f"a demo needs at least {MIN_ITEMS} items and 1 user")
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out}: is not empty")
    rng = np.random.default_rng(seed)
    looks = _looks(n_items, rng)
    _write_items(out, looks, rng)
    truth, rows = _interactions(looks, n_users, rng)
    _write_csv(out / "interactions.csv", ("user_id", "item_id", "timestamp"), rows)
    write_truth(truth, out / TRUTH_FILE)
    return truth


def _looks(n_items: int, rng: np.random.Generator) -> dict[str, Looks]:
    """Looks by item id; all combinations occur about equally often, in random order."""
    k = isqrt(n_items // ITEMS_OF_TASTE)
    combinations = [
        Looks(category, colour, pattern)
        for category in list(SHAPES)[: k + 2]
        for colour in list(COLOURS)[:k]
        for pattern in PATTERNS[:k]
    ]
    order = rng.permutation(np.arange(n_items) % len(combinations))
    return {f"sku-{row:05d}": combinations[i] for row, i in enumerate(order)}


def _write_items(out: Path, looks: dict[str, Looks], rng: np.random.Generator) -> None:
    (out / "pictures").mkdir(parents=True)
    shuffled = rng.permutation(len(looks))
    without_picture = round(NO_PICTURE * len(looks))
    without_title = without_picture + round(NO_TITLE * len(looks))
    cheapest = dict(zip(SHAPES, (6, 20, 45, 9, 12, 14, 25, 10, 15, 11, 7, 8), strict=True))
    rows = []
    # One generator per item, so that items do not depend on each other.
    for (item_id, look), place, own in zip(
        looks.items(), shuffled, rng.spawn(len(looks)), strict=True
    ):
        title = write_title(look.category, look.colour, look.pattern, own)
        image = f"pictures/{item_id}.png"
        price = cheapest[look.category] * float(own.uniform(1, 3))
        if place < without_picture:
            image = ""
        else:
            picture = draw_product(look.category, look.colour, look.pattern, own)
            (out / image).write_bytes(picture)
            if place < without_title:
                title = ""
        rows.append((item_id, title, look.category, look.colour, f"{price:.2f}", image))
    names = ("item_id", "title", "category", "colour", "price", "image")
    _write_csv(out / "items.csv", names, rows)


def _interactions(
    looks: dict[str, Looks], n_users: int, rng: np.random.Generator
) -> tuple[Truth, list[tuple[str, str, int]]]:
    """Tastes, and interactions (user, item, timestamp) in order of time."""
    items = list(looks)
    cold = rng.random(len(items)) < COLD
    # Zipf's law, flattened at the top, or every user would have seen the same ten items.
    popularity = 1 / (10 + rng.permutation(len(items))) ** 0.8
    popularity[cold] = 0
    tastes: dict[str, list[Taste]] = {}
    seen: dict[str, list[str]] = {}
    rows: list[tuple[str, str, int]] = []
    all_looks = list(looks.values())

    @cache
    def fitting(taste: Taste) -> NDArray[np.bool_]:
        return np.array([taste.fits(look) for look in all_looks])

    for number in range(n_users):
        user_id = f"user-{number:04d}"
        tastes[user_id] = _tastes(all_looks, rng)
        liked = np.any([fitting(taste) for taste in tastes[user_id]], axis=0)
        bought = _basket(liked, popularity, rng)
        seen[user_id] = [items[row] for row in bought]
        first = OPENED_S + int(rng.integers(OPEN_S - VISITING_S))
        times = np.sort(first + rng.integers(0, VISITING_S, len(bought)))
        rows += [(user_id, items[row], int(t)) for row, t in zip(bought, times, strict=True)]
    rows.sort(key=lambda row: (row[2], row[0]))
    sold = {item for basket in seen.values() for item in basket}
    return Truth(looks, tastes, seen, [i for i in items if i not in sold]), rows


def _tastes(looks: Sequence[Looks], rng: np.random.Generator) -> list[Taste]:
    """Tastes of one user, derived from a few random items."""
    found: list[Taste] = []
    for row in rng.integers(len(looks), size=rng.choice([1, 2, 3], p=[0.35, 0.4, 0.25])):
        look = looks[row]
        taste = (
            Taste(look.category, colour=look.colour)
            if rng.random() < 0.6
            else Taste(look.category, pattern=look.pattern)
        )
        if taste not in found:
            found.append(taste)
    return found


def _basket(
    fitting: NDArray[np.bool_], popularity: NDArray[np.float64], rng: np.random.Generator
) -> list[int]:
    """Items of one user: distinct rows in random order, at most half of the matching items."""
    wish = 5 + int(rng.geometric(0.12))
    n_noise = int(rng.binomial(wish, NOISE))
    n_liked = min(wish - n_noise, int((fitting & (popularity > 0)).sum()) // 2)
    liked = _draw(popularity * fitting, n_liked, rng)
    noise = _draw(popularity * ~fitting, n_noise, rng)
    return [int(row) for row in rng.permutation(np.concatenate([liked, noise]))]


def _draw(weight: NDArray[np.float64], n: int, rng: np.random.Generator) -> NDArray[np.intp]:
    return rng.choice(len(weight), size=n, replace=False, p=weight / weight.sum())


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
