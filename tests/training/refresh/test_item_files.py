"""Tables of items given to a refresh: values as `PUT /items` takes them, and nothing unsaid."""

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bundle.catalogue.overlay import ItemChange, column_values
from bundle.errors import InputError
from bundle.store.store import BundleStore
from tests.support.data.bundles import make_contents
from tests.support.data.event_logs import StateWriter, features, run_refresh
from training.refresh.pipeline import Outcome

SCHEMA = pa.schema(
    {
        "item_id": pa.string(),
        "title": pa.string(),
        "price": pa.float64(),
        "stock": pa.int64(),
        "brand": pa.string(),
        "sold": pa.bool_(),
        "tags": pa.list_(pa.string()),
    }
)


@pytest.fixture
def store(tmp_path: Path) -> BundleStore:
    """A store whose bundle has columns of several types."""
    contents = make_contents(60, 40, 8, rng=np.random.default_rng(0))
    rows = [
        {
            "item_id": item,
            "title": f"Item {number}",
            "price": number + 0.5,
            "stock": number,
            "brand": "501" if number % 2 else "Acme",
            "sold": number % 2 == 0,
            "tags": ["a", str(number)],
        }
        for number, item in enumerate(contents.items.ids)
    ]
    rows[5]["price"] = float("nan")
    store = BundleStore(tmp_path / "store")
    store.publish(replace(contents, item_table=pa.Table.from_pylist(rows, SCHEMA)))
    return store


def row_of(store: BundleStore, item: str) -> dict[str, Any]:
    bundle = store.load()
    row = bundle.items.get(item)
    assert row is not None
    found: dict[str, Any] = bundle.item_table.slice(row, 1).to_pylist()[0]
    return found


def refreshed(store: BundleStore, path: Path) -> list[str]:
    said: list[str] = []
    run_refresh(store, path.parent / "none.csv", items=path, say=said.append)
    return said


@pytest.fixture(autouse=True)
def _no_events(tmp_path: Path) -> None:
    (tmp_path / "none.csv").touch()


def test_columns_that_the_table_does_not_have_stay(store: BundleStore, tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item_id,title\nitem-1,renamed\nitem-2,Item 2\nitem-5,\n")
    before = row_of(store, "item-1")
    said = refreshed(store, tmp_path / "items.csv")
    assert "0 new events, 2 changed items" in said
    assert row_of(store, "item-1") == before | {"title": "renamed"}
    assert row_of(store, "item-2")["title"] == "Item 2"
    assert row_of(store, "item-5")["title"] is None, "an empty cell is a value that was cleared"
    assert row_of(store, "item-5")["stock"] == 5
    again = run_refresh(store, tmp_path / "none.csv", items=tmp_path / "items.csv")
    assert again == Outcome(None, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("item_id,title,price\nitem-1,a,3.5\nitem-3,c,N/A\n", "line 3, column 'price': 'N/A'"),
        ("item_id,stock\nitem-1,4\nitem-2,9.99\n", "line 3, column 'stock': 9.99 does not fit"),
        ("item_id,stock\nitem-1,501\nitem-2,Acme\n", "line 3, column 'stock': 'Acme' does not"),
        ("item_id,stock\nitem-1,9223372036854775808\n", "line 2, column 'stock'"),
        ("item_id,sold\nitem-1,true\nitem-2,perhaps\n", "line 3, column 'sold': 'perhaps'"),
        ("item_id,tags\nitem-1,a\n", "line 2, column 'tags': 'a' does not fit"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_line_and_column(
    store: BundleStore, tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "items.csv").write_text(text)
    version = store.current()
    with pytest.raises(InputError, match=rf"^items\.csv, {message}"):
        refreshed(store, tmp_path / "items.csv")
    assert store.current() == version


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("price", 3),
        ("price", 3.25),
        ("price", None),
        ("price", "3.25"),
        ("price", True),
        ("stock", 3),
        ("stock", 3.0),
        ("stock", 3.5),
        ("stock", 2**53 + 1),
        ("stock", "3"),
        ("brand", "3"),
        ("brand", 3),
        ("sold", False),
        ("sold", 1),
        ("tags", ["a", "b"]),
        ("tags", "a"),
        ("tags", None),
    ],
)
@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_a_value_means_what_it_means_as_put(
    store: BundleStore, tmp_path: Path, column: str, value: object, suffix: str
) -> None:
    path = tmp_path / f"items.{suffix}"
    if suffix == "jsonl":
        path.write_text(json.dumps({"item_id": "item-1", column: value}) + "\n")
    else:
        pq.write_table(pa.table({"item_id": ["item-1"], column: [value]}), path)
    try:
        expected = column_values(SCHEMA, {column: value})[column]
    except InputError:
        with pytest.raises(InputError, match=rf"^items\.{suffix}, .*column '{column}'"):
            refreshed(store, path)
        return
    refreshed(store, path)
    assert row_of(store, "item-1")[column] == expected


def test_numbers_of_other_types_are_converted(store: BundleStore, tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    columns = {
        "item_id": ["item-1", "item-2", "item-3"],
        "price": pa.array([Decimal("9.99"), Decimal("5.00"), None], pa.decimal128(10, 2)),
        "stock": pa.array([7.0, 8.0, float("nan")], pa.float32()),
        "brand": pa.array(["x", "y", "x"]).dictionary_encode(),
    }
    pq.write_table(pa.table(columns), path)
    refreshed(store, path)
    rows = [row_of(store, f"item-{number}") for number in (1, 2, 3)]
    assert [row["price"] for row in rows] == [9.99, 5.0, None]
    assert [row["stock"] for row in rows] == [7, 8, None]
    assert [row["brand"] for row in rows] == ["x", "y", "x"]
    columns["stock"] = pa.array([Decimal("7.50"), None, None], pa.decimal128(10, 2))
    pq.write_table(pa.table(columns), path)
    with pytest.raises(InputError, match=r"items\.parquet, row 0 .*'stock': 7\.5 does not fit"):
        refreshed(store, path)


def test_texts_of_digits_stay_texts_in_a_csv(store: BundleStore, tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item_id,brand,price\nitem-2,0501,7\n")
    refreshed(store, tmp_path / "items.csv")
    row = row_of(store, "item-2")
    assert (row["brand"], row["price"]) == ("0501", 7.0)


def test_what_is_not_used_is_named_and_counted(store: BundleStore, tmp_path: Path) -> None:
    state = StateWriter(tmp_path / "store")
    state.change_items(
        ItemChange("item-7", deleted=True), ItemChange("item-8", columns={"title": "PUT"})
    )
    folder = tmp_path / "items"
    folder.mkdir()
    names = ["item-0", "item-7", "item-8", "fresh", "bare"]
    rows = [{"item_id": name, "title": name, "colour": "red", "x": {"y": 1}} for name in names]
    (folder / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    image = features(np.random.default_rng(0), image=6)["image"]
    np.save(folder / "image_feat.npy", np.stack([image, image, image, image, image * 0]))
    np.save(folder / "sound_feat.npy", np.ones((5, 3), np.float32))
    said: list[str] = []
    run_refresh(store, items=folder, say=said.append)
    assert [line.removeprefix("note: ") for line in said if line.startswith("note: ")] == [
        "items.jsonl: columns dropped, unsupported type: x",
        "items.jsonl: columns that the bundle does not have: colour",
        "sound_feat.npy is not used: the bundle has no such features",
        "items of the bundle keep their vectors, their features are not used: 3"
        " (item-0, item-7, item-8)",
        "items.jsonl: new items without features are not added: 1 (bare)",
        "items.jsonl: the service's changes count instead: 2 (item-7, item-8)",
    ]
    assert "0 new events, 4 changed items" in said
    assert row_of(store, "item-8")["title"] == "PUT"
    assert row_of(store, "fresh")["title"] == "fresh"
    assert store.load().report["refresh"]["new_items"] == 1


def test_a_table_of_other_items_is_refused(store: BundleStore, tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item_id,title\n1.0,a\n2.0,b\n")
    with pytest.raises(InputError, match=r"items\.csv: none of its 2 items is in the bundle"):
        refreshed(store, tmp_path / "items.csv")
