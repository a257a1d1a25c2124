"""One moment is the same in every format and unit, and the same as in `POST /events`."""

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from pydantic import ValidationError

from bundle.errors import InputError
from service.api.events import _seconds
from service.schemas.events import EventIn
from tests.support.data.datasets import write_rows
from training.data.load import read_dataset

SECONDS = 1_706_693_400.25
MOMENT = datetime(2024, 1, 31, 9, 30, 0, 250_000, UTC)
DAY = 1_706_659_200

TEXTS = {
    "1706693400.25": SECONDS,
    "1706693400250": SECONDS,
    "1.70669340025e9": SECONDS,
    "2024-01-31T09:30:00.25Z": SECONDS,
    "2024-01-31 09:30:00.25": SECONDS,
    "2024-01-31T10:30:00.250000999+01:00": SECONDS,
    "2024-01-31T04:00:00.25-0530": SECONDS,
    "2024-01-31T09:30": SECONDS - 0.25,
    "2024-01-31": DAY,
    "20000000000": 2e10,
    "20000000001": 20_000_000.001,
    "0": 0,
    "253402300799999": 253_402_300_799.999,
    "9999-12-31T23:59:59": 253_402_300_799,
}
"""Texts and the seconds that they mean."""

WRONG = (
    "1706693400250000",
    "1706693400250000000",
    "253402300800000",
    "2024-02-30",
    "31.01.2024",
    "2024-01-31T25:00",
    "01/31/2024",
    "now",
    "true",
    "1969-12-31",
    "-5",
)


def read(
    folder: Path, form: str, values: list[Any], kind: pa.DataType | None = None
) -> list[float]:
    """Times of interactions with these timestamps."""
    for old in folder.iterdir():
        old.unlink()
    path = folder / f"interactions.{form}"
    rows = [{"user_id": "a", "item_id": str(n)} for n in range(len(values))]
    match form:
        case "csv":
            lines = [
                f"{row['user_id']},{row['item_id']},{v}\n"
                for row, v in zip(rows, values, strict=True)
            ]
            path.write_text("user_id,item_id,timestamp\n" + "".join(lines))
        case "jsonl":
            write_rows(path, [{**row, "timestamp": v} for row, v in zip(rows, values, strict=True)])
        case _:
            table = pa.Table.from_pylist(rows).append_column("timestamp", pa.array(values, kind))
            pyarrow.parquet.write_table(table, path)
    times = read_dataset(folder).interactions.timestamp
    assert times is not None
    found: list[float] = times.tolist()
    return found


def posted(value: str | float) -> float:
    event = EventIn.model_validate_json(
        json.dumps({"user_id": "a", "item_id": "b", "timestamp": value})
    )
    assert event.timestamp is not None
    return _seconds(event.timestamp)


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_texts_mean_what_they_mean_as_events(tmp_path: Path, form: str) -> None:
    assert read(tmp_path, form, list(TEXTS)) == list(TEXTS.values())
    for text, seconds in TEXTS.items():
        if "e" not in text:  # a number in JSON, no number as a text
            assert posted(text) == seconds


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_numbers_mean_what_they_mean_as_events(tmp_path: Path, form: str) -> None:
    numbers = [float(text) for text in TEXTS if text.replace(".", "").isdigit()]
    found = read(tmp_path, form, numbers)
    assert found == [posted(number) for number in numbers]
    whole = [int(number) for number in numbers]
    assert read(tmp_path, form, whole) == [posted(number) for number in whole]


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_moment_is_refused_with_its_row(tmp_path: Path, form: str, text: str) -> None:
    place = "row 1 (from 0)" if form == "parquet" else f"line {3 if form == 'csv' else 2}"
    with pytest.raises(InputError, match=text) as caught:
        read(tmp_path, form, ["2024-01-31", text])
    assert f"interactions.{form}, {place}, column 'timestamp': " in str(caught.value)
    if not text.startswith(("-", "1969")):  # the service keeps what was before 1970
        with pytest.raises(ValidationError):
            posted(text)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
def test_timestamps_of_parquet(tmp_path: Path, unit: str, zone: str | None) -> None:
    values = pa.array([MOMENT.replace(tzinfo=None)], pa.timestamp("us")).cast(
        pa.timestamp(unit), safe=False
    )
    found = read(tmp_path, "parquet", values.cast(pa.int64()).to_pylist(), pa.timestamp(unit, zone))
    assert found == [int(SECONDS) if unit == "s" else SECONDS]


def test_dates_of_parquet(tmp_path: Path) -> None:
    assert read(tmp_path, "parquet", [date(2024, 1, 31)], pa.date32()) == [DAY]
    assert read(tmp_path, "parquet", [DAY * 1000], pa.date64()) == [DAY]


@pytest.mark.parametrize(
    ("values", "kind", "why"),
    [
        ([1_706_693_400_250], pa.timestamp("s"), "1706693400250.0 is after the year 9999"),
        ([-1], pa.timestamp("ns"), "-1e-06 is before 1970"),
        ([1_706_693_400_250_000_000], pa.int64(), "1706693400250000000 is after the year 9999"),
        ([True], pa.bool_(), "True is not a number"),
        ([1], pa.duration("s"), "expected numbers, not duration"),
        ([1], pa.time32("s"), "expected numbers, not time32"),
        ([float("nan")], pa.float64(), "nan is not finite"),
        ([None], pa.timestamp("us"), "the moment is missing"),
    ],
)
def test_other_columns_of_parquet(
    tmp_path: Path, values: list[Any], kind: pa.DataType, why: str
) -> None:
    with pytest.raises(InputError, match=why):
        read(tmp_path, "parquet", values, kind)
