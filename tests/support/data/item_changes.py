"""A bundle with item columns of all types, changes of its items, and a plain model of both."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from bundle.catalogue.catalogue import Catalogue
from bundle.catalogue.overlay import ItemChange, Overlay, build_overlay, columns_now
from bundle.format.reader import Bundle
from bundle.format.writer import BundleContents
from bundle.search.recommender import Recommender
from bundle.search.topk import TopK
from bundle.store.store import BundleStore
from bundle.types import Vector
from tests.support.data.bundles import make_contents

DIM = 12
N_ITEMS = 400
FILTERS: dict[str, Callable[[dict[str, Any]], bool]] = {
    'category = "category-2"': lambda c: c["category"] == "category-2",
    "price < 20": lambda c: c["price"] is not None and c["price"] < 20,
    "not price < 20": lambda c: not (c["price"] is not None and c["price"] < 20),
    "stock >= 3 and new = true": lambda c: (c["stock"] or 0) >= 3 and c["new"] is True,
    'tags in ["red", "blue"]': lambda c: bool({"red", "blue"} & set(c["tags"] or [])),
    "tags is null or title is null": lambda c: c["tags"] is None or c["title"] is None,
    "stock = 12345": lambda c: c["stock"] == 12345,
}


@dataclass
class KnownItem:
    """An item of the plain model; `parts` is None where the vector is not the bundle's."""

    vector: Vector
    columns: dict[str, Any]
    interactions: int
    parts: Vector | None


def random_columns(rng: np.random.Generator) -> dict[str, Any]:
    return {
        "title": None if rng.random() < 0.3 else f"Title {rng.integers(100)}",
        "category": f"category-{rng.integers(5)}",
        "price": None if rng.random() < 0.3 else float(rng.integers(0, 40)),
        "stock": int(rng.integers(0, 8)),
        "new": [True, False, None][rng.integers(3)],
        "tags": None if rng.random() < 0.3 else list(rng.permutation(["red", "blue", "x"])[:2]),
    }


def random_features(seed: int) -> dict[str, list[float]]:
    """Features of an item in both modalities, as a request has them."""
    rng = np.random.default_rng(seed)
    return {"image": rng.standard_normal(6).tolist(), "text": rng.standard_normal(4).tolist()}


def contents_with_columns(
    n_items: int = N_ITEMS, user_ids: Sequence[str] | None = None
) -> BundleContents:
    """A bundle of 60 users whose items have columns of all types."""
    rng = np.random.default_rng(3)
    contents = make_contents(60, n_items, DIM, rng=rng, user_ids=user_ids)
    rows = [{"item_id": i, **random_columns(rng)} for i in contents.items.ids]
    schema = pa.schema(
        [
            ("item_id", pa.string()),
            ("title", pa.string()),
            ("category", pa.string()),
            ("price", pa.float64()),
            ("stock", pa.int64()),
            ("new", pa.bool_()),
            ("tags", pa.list_(pa.string())),
        ]
    )
    return replace(contents, item_table=pa.Table.from_pylist(rows, schema))


def publish(path: Path, n_items: int = N_ITEMS) -> Bundle:
    BundleStore(path).publish(contents_with_columns(n_items))
    return BundleStore(path).load()


def overlay_of(
    trained: Bundle, changes: Sequence[ItemChange], vectors: Mapping[str, Vector]
) -> Overlay:
    columns = {change.item_id: columns_now(trained, change) for change in changes}
    return build_overlay(trained, changes, vectors, columns)


class PlainCatalogue:
    """The items of a bundle after random changes, in plain Python."""

    def __init__(self, trained: Bundle, rng: np.random.Generator, rate: float) -> None:
        self.bundle = trained
        self.items: dict[str, KnownItem] = {}
        self.changes: dict[str, ItemChange] = {}
        self.vectors: dict[str, Vector] = {}
        for row, columns in enumerate(trained.item_table.to_pylist()):
            item_id = columns.pop("item_id")
            parts = trained.item_parts[row]
            counts = int(trained.popularity[row])
            self.items[item_id] = KnownItem(trained.item_vectors[row], columns, counts, parts)
        trained_ids = list(self.items)
        for item_id in [*trained_ids, *(f"new-{n}" for n in range(40))]:
            if rng.random() < rate:
                self._change(item_id, rng)
        for item_id in list(rng.permutation(list(self.changes))[:30]):
            self._change(item_id, rng)  # the newest change counts

    def _change(self, item_id: str, rng: np.random.Generator) -> None:
        kind = rng.integers(4) if item_id in self.bundle.items else rng.integers(2)
        columns = random_columns(rng) if rng.random() < 0.7 else None
        if columns and rng.random() < 0.5:
            del columns["tags"], columns["title"]
        row = self.bundle.items.get(item_id)
        trained = None if row is None else self.bundle.item_table.slice(row, 1).to_pylist()[0]
        if trained is not None:
            del trained["item_id"]
        empty = dict.fromkeys(["title", "category", "price", "stock", "new", "tags"])
        shown = {**empty, **columns} if columns is not None else trained or empty
        count = 0 if row is None else int(self.bundle.popularity[row])
        self.vectors.pop(item_id, None)
        self.items.pop(item_id, None)
        if kind == 0:
            self.changes[item_id] = ItemChange(item_id, deleted=True)
        elif kind == 1:
            vector = rng.standard_normal(DIM).astype(np.float32)
            features = {"text": np.zeros(4, np.float32)}  # `vectors` is what they were made to
            self.changes[item_id] = ItemChange(item_id, features=features, columns=columns)
            self.vectors[item_id] = vector
            self.items[item_id] = KnownItem(vector, shown, count, None)
        else:
            assert row is not None
            self.changes[item_id] = ItemChange(item_id, columns=columns)
            parts = self.bundle.item_parts[row]
            self.items[item_id] = KnownItem(self.bundle.item_vectors[row], shown, count, parts)

    def recommender(self) -> Recommender:
        changes = list(self.changes.values())
        return Recommender(self.bundle, overlay_of(self.bundle, changes, self.vectors))

    def check(self, found: TopK, catalogue: Catalogue, scores: dict[str, float], k: int) -> None:
        """The best k of some scored items; ties may be in any order."""
        ids = [catalogue.item_id(row) for row in found.item_idx.tolist()]
        assert len(ids) == len(set(ids)) == min(k, len(scores))
        expected = sorted(scores.values(), reverse=True)[:k]
        np.testing.assert_allclose(found.scores, expected, atol=2e-5)
        np.testing.assert_allclose(found.scores, [scores[i] for i in ids], atol=2e-5)
