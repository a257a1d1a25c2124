"""Sources of a refresh: files of events and items are taken in once, bad ones refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from bundle.catalogue.overlay import ItemChange
from bundle.errors import InputError
from bundle.store.store import BundleStore
from tests.support.data.event_logs import StateWriter, history_of, run_refresh
from training.refresh.file_source import EventFiles
from training.refresh.pipeline import Outcome
from training.refresh.redis_client import RedisOptions
from training.refresh.sources import open_source


@pytest.mark.slow
def test_dropped_files_are_taken_in_once(store: BundleStore, tmp_path: Path) -> None:
    drops = tmp_path / "drops"
    drops.mkdir()
    (drops / "a.csv").write_text(
        "user_id,item_id,weight,timestamp\nann,item-1,2,5\nann,item-2,1,6\n"
    )
    (drops / "b.jsonl").write_text('{"user_id": "bob", "item_id": "item-1"}\n')
    (drops / "readme.txt").write_text("not events")
    run_refresh(store, drops)
    assert history_of(store.load(), "ann") == {"item-1": 2.0, "item-2": 1.0}
    assert run_refresh(store, drops) == Outcome(None, None)
    (drops / "c.csv").write_text("user_id,item_id\nann,item-1\n")
    run_refresh(store, drops)
    assert history_of(store.load(), "ann") == {"item-1": 1.0, "item-2": 1.0}
    (drops / "a.csv").write_text("user_id,item_id\nann,item-9\n")
    with pytest.raises(InputError, match=r"a\.csv: has changed since it was read"):
        run_refresh(store, drops)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user_id,timestamp\nann,1\n", r"bad\.csv, column 'item_id': is missing"),
        ("user_id,item_id\nann,\n", r"bad\.csv, line 2, column 'item_id': the id is empty"),
        ("user_id,item_id,weight\nann,a,much\n", r"bad\.csv.*'weight'"),
    ],
)
def test_a_bad_file_is_refused_with_its_place_and_changes_nothing(
    store: BundleStore, tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "bad.csv").write_text(text)
    version = store.current()
    with pytest.raises(InputError, match=message):
        run_refresh(store, tmp_path / "bad.csv")
    assert store.current() == version
    assert not (Path(store.root) / "events").exists()


@pytest.mark.slow
def test_items_from_files(store: BundleStore, state_writer: StateWriter, tmp_path: Path) -> None:
    folder = tmp_path / "items"
    folder.mkdir()
    rows = [
        {"item_id": "item-0", "title": "Zero", "category": "x"},
        {"item_id": "item-9", "title": "Gone", "category": "x"},
        {"item_id": "fresh", "title": "Fresh", "category": "y"},
        {"item_id": "bare", "title": "No features", "category": "y"},
    ]
    (folder / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    image = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)
    image[3] = 0
    np.save(folder / "image_feat.npy", image)
    state_writer.change_items(ItemChange("item-9", deleted=True))
    before = store.load()
    run_refresh(store, items=folder)
    after = store.load()
    assert after.items.ids == [i for i in before.items.ids if i != "item-9"] + ["fresh"]
    assert after.item_table["title"].to_pylist()[0] == "Zero"
    np.testing.assert_array_equal(after.item_vectors[0], before.item_vectors[0])
    assert run_refresh(store, items=folder) == Outcome(None, None), "deleted items stay deleted"
    np.save(folder / "image_feat.npy", image[:, :5])
    with pytest.raises(InputError, match=r"image_feat\.npy: 5 features, expected 6"):
        run_refresh(store, items=folder)


def test_sources_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.sqlite3"):
        open_source(str(tmp_path / "gone.sqlite3"), RedisOptions())
    with pytest.raises(InputError, match=r"gone\.csv"):
        EventFiles(tmp_path / "gone.csv")
    (tmp_path / "some.txt").write_text("")
    with pytest.raises(InputError, match="unknown type of file"):
        open_source(str(tmp_path / "some.txt"), RedisOptions())
