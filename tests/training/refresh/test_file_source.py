"""Files of events mean what the same events mean as `POST /events`."""

import json
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bundle.errors import InputError
from bundle.events.records import Event
from bundle.events.weights import parse_event_weights
from service.schemas.events import EventIn
from tests.support.data.event_logs import archived_events, run_refresh, store_with_bundle
from training.refresh.file_source import EventFiles


def events_of(path: Path, weights: dict[str, float] | None = None) -> list[Event]:
    files = EventFiles(path) if weights is None else EventFiles(path, weights)
    return [event for page in files.read({}) for event in page.events]


def written(folder: Path, suffix: str, rows: list[dict[str, object]]) -> Path:
    """The rows as a file; a key that is None is an empty cell, a null or a missing key."""
    path = folder / f"events.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif suffix == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        lines = [",".join("" if v is None else str(v) for v in row.values()) for row in rows]
        path.write_text("\n".join([",".join(rows[0]), *lines]) + "\n")
    return path


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_what_an_event_leaves_out_means_what_it_means_in_a_request(
    suffix: str, tmp_path: Path
) -> None:
    rows: list[dict[str, object]] = [
        {"user_id": "u", "item_id": "a", "type": None, "weight": None, "timestamp": None},
        {"user_id": "u", "item_id": "b", "type": "dislike", "weight": None, "timestamp": 5.5},
        {"user_id": "u", "item_id": "c", "type": "dislike", "weight": -2.0, "timestamp": 6.0},
        {"user_id": "u", "item_id": "d", "type": "purchase", "weight": None, "timestamp": 7.0},
    ]
    path = written(tmp_path, suffix, rows)
    before = time.time()
    found = events_of(path, {"purchase": 3.0, "dislike": -0.25})
    assert before <= found[0].timestamp <= time.time()
    assert [event.timestamp for event in found[1:]] == [5.5, 6.0, 7.0]
    assert [(event.type, event.weight) for event in found] == [
        ("view", 1.0),
        ("dislike", -0.25),
        ("dislike", -2.0),
        ("purchase", 3.0),
    ]
    assert [event.weight for event in events_of(path)] == [1.0, -0.5, -2.0, 1.0]


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("type", "a b", "'a b' is no type"),
        ("type", "x" * 65, "is no type"),
        ("weight", 2e6, "above"),
        ("weight", -2e6, "below"),
    ],
)
def test_what_a_request_refuses_a_file_is_refused_for(
    column: str, value: object, said: str, tmp_path: Path
) -> None:
    good: dict[str, object] = {"user_id": "u", "item_id": "a", "type": "view", "weight": 1.0}
    bad = good | {column: value}
    EventIn.model_validate(good)
    with pytest.raises(ValueError, match=column):
        EventIn.model_validate(bad)
    path = written(tmp_path, "csv", [good | {column: None}, bad, bad])
    with pytest.raises(InputError, match=rf"^events\.csv, line 3, column '{column}': .*{said}"):
        events_of(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x", "Invalid JSON"),
        ("[]", "should be an object"),
        ('{"view": NaN}', "view: "),
        ('{"view": null}', "view: "),
        ('{"view": 1e7}', "view: "),
    ],
)
def test_weights_that_are_none_are_refused(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse_event_weights(text)


@pytest.mark.parametrize(
    "name", ["a.csv", "b.csv", "c.csv", "a.jsonl", "b.jsonl", "a.parquet"], ids=str
)
def test_a_day_without_events_does_not_hold_up_the_next_one(name: str, tmp_path: Path) -> None:
    texts = {"a.csv": "user_id,item_id\n", "b.csv": "", "c.csv": "\ufeff\n \n"}
    texts |= {"a.jsonl": "", "b.jsonl": "\n"}
    if name == "a.parquet":
        kinds = {"user_id": pa.string(), "item_id": pa.string(), "weight": pa.float64()}
        pq.write_table(pa.schema(kinds).empty_table(), tmp_path / name)
    else:
        (tmp_path / name).write_text(texts[name])
    (tmp_path / "d.csv").write_text("user_id,item_id\nu,a\nv,b\n")
    assert [event.user_id for event in events_of(tmp_path)] == ["u", "v"]


def test_a_header_without_rows_must_still_be_one_of_events(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("user_id,timestamp\n")
    with pytest.raises(InputError, match=r"a\.csv, column 'item_id': is missing"):
        events_of(tmp_path)
    (tmp_path / "a.csv").unlink()
    (tmp_path / "a.parquet").write_bytes(b"")
    with pytest.raises(InputError, match=r"a\.parquet: is not a readable Parquet file"):
        events_of(tmp_path)


def test_files_that_are_not_read_are_named_and_counted(tmp_path: Path) -> None:
    store = store_with_bundle(tmp_path / "store")
    drops = tmp_path / "drops"
    (drops / "dt=2024-01-01").mkdir(parents=True)
    (drops / "folder.csv").mkdir()
    (drops / "dt=2024-01-01" / "c.csv").write_text("user_id,item_id\nu,item-1\n")
    for name in ("A.CSV", "b.csv.gz", "d.ndjson", "z.tsv", ".hidden.csv", "_SUCCESS"):
        (drops / name).write_text("user_id,item_id\nu,item-1\n")
    (drops / "read.csv").write_text("user_id,item_id\nnew,item-1\n")
    said: list[str] = []
    run_refresh(store, drops, say=said.append)
    assert [event["user_id"] for event in archived_events(store)] == ["new"]
    [note] = [line for line in said if "not read" in line]
    assert note == (
        f"note: {drops}: not read, because only .parquet, .csv, .jsonl are: 6"
        " (A.CSV, b.csv.gz, d.ndjson, dt=2024-01-01/, folder.csv/, …)"
    )
    assert not EventFiles(drops / "read.csv").notes()


def test_a_refused_file_is_not_taken_in_and_can_be_mended(tmp_path: Path) -> None:
    store = store_with_bundle(tmp_path / "store")
    (tmp_path / "drops").mkdir()
    (tmp_path / "drops" / "a.csv").write_text("user_id,item_id\nfirst,item-1\n")
    broken = tmp_path / "drops" / "b.csv"
    broken.write_text('user_id,item_id\nq1,"item-1\nq2,item-2\nq3,item-3')
    with pytest.raises(InputError, match=r"b\.csv, line 2: a quoted field begins here"):
        run_refresh(store, tmp_path / "drops")
    broken.write_text(broken.read_text().replace('"', ""))
    run_refresh(store, tmp_path / "drops")
    found = [event["user_id"] for event in archived_events(store)]
    assert found == ["first", "q1", "q2", "q3"]


def test_a_key_that_only_a_later_line_has(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"user_id":"u","item_id":"a"}\n{"item_id":"b","weight":-1,"user_id":"u",'
        '"timestamp":"2024-01-31T09:30:00Z"}\n'
    )
    first, second = events_of(path)
    assert (first.weight, second.weight, second.timestamp) == (1, -1, 1_706_693_400)
