"""Random tables with random damage: every format means what plain Python reads, or is refused."""

import csv
import io
import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from bundle.errors import InputError
from tests.support.reference.reference_reader import (
    Columns,
    Likes,
    parse_csv,
    parse_json_lines,
    understand,
)
from training.data.load import read_dataset

CASES = 350
"""Tables per format and kind of damage."""

IDS: tuple[tuple[str | int, ...], ...] = (
    ("a", "b", "c"),
    ("007", "7", "7.0"),
    (1, 2, 9007199254740993),
    ('x,"y"', "ü/β", 'two\nlines"'),
    ("2020-01-01", "2020-01-02", " "),
    ('"', "'", "\\"),
)
NAN, INF = float("nan"), float("inf")
BAD: tuple[Any, ...] = (None, "", "x", True, 1.5, NAN, INF, -1, 1e300, "2024-02-30")
"""Values that replace one of a table; in some columns they are right."""
PIECES = (*'",\n\\{}[:0-.e é', '""', "\r\n", '\\"')
"""Texts that get into a file."""
MISTAKES = (ValueError, KeyError, TypeError, IndexError)
"""Exceptions of the reference for a table that means nothing."""


def table(rng: random.Random) -> dict[str, list[Any]]:
    """Random interactions of few users and items, so that pairs repeat."""
    n = rng.randint(1, 7)
    users, items = rng.choice(IDS), rng.choice(IDS)
    made: dict[str, list[Any]] = {
        "user_id": [rng.choice(users) for _ in range(n)],
        "item_id": [rng.choice(items) for _ in range(n)],
    }
    if rng.random() < 0.6:
        write = rng.choice(TIMES)
        times = [datetime(2024, 1, 31, 9, rng.randint(0, 3), 1, 250_000, UTC) for _ in range(n)]
        made["timestamp"] = [write(time) for time in times]
    if rng.random() < 0.6:
        weight = rng.choice([lambda: rng.randint(-1, 2), lambda: rng.choice([0.1, -0.5, 3.25])])
        made["weight"] = [weight() for _ in range(n)]
        made["weight"][rng.randrange(n)] = 4
    if rng.random() < 0.4:
        labels = rng.choice([("train", "valid", "test"), (0, 1, 2)])
        made["split"] = [rng.choice(labels) for _ in range(n)]
        made["split"][rng.randrange(n)] = labels[0]
    names = list(made)
    rng.shuffle(names)
    return {name: made[name] for name in names}


TIMES: tuple[Callable[[datetime], Any], ...] = (
    lambda moment: int(moment.timestamp()),
    lambda moment: moment.timestamp(),
    lambda moment: int(moment.timestamp() * 1000),
    lambda moment: moment.isoformat(),
    lambda moment: moment.isoformat().replace("+00:00", "Z"),
    lambda moment: moment.replace(tzinfo=None).isoformat(" "),
    lambda moment: (moment + timedelta(hours=1)).replace(tzinfo=None).isoformat() + "+01:00",
    lambda moment: f"{moment:%Y-%m-}{moment.minute + 1:02}",
)
"""Notations of a moment in a table."""


def as_csv(columns: Columns, rng: random.Random) -> bytes:
    def cell(value: Any) -> str:
        return "" if value is None else json.dumps(value) if isinstance(value, bool) else str(value)

    end = rng.choice(["\n", "\r\n"])
    file = io.StringIO(newline="")
    writer = csv.writer(
        file, quoting=rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), lineterminator=end
    )
    writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        file.write(end * rng.choice([0, 0, 0, 1]))
        writer.writerow([cell(value) for value in row])
    text = file.getvalue()
    return text.removesuffix(rng.choice(["", end])).encode(rng.choice(["utf-8", "utf-8-sig"]))


def as_json_lines(columns: Columns, rng: random.Random) -> bytes:
    lines = []
    for row in zip(*columns.values(), strict=True):
        fields = dict(zip(columns, row, strict=True))
        names = [name for name in fields if fields[name] is not None or rng.random() < 0.5]
        rng.shuffle(names)
        ascii_only = rng.random() < 0.5
        lines.append(json.dumps({name: fields[name] for name in names}, ensure_ascii=ascii_only))
    return rng.choice(["\n", "\r\n", "\n\n"]).join(lines).encode()


def as_parquet(columns: Columns, rng: random.Random) -> bytes:
    arrays = []
    for values in columns.values():
        try:
            array = pa.array(values)
        except (pa.ArrowException, TypeError):
            array = pa.array([None if value is None else str(value) for value in values])
        if pa.types.is_string(array.type):
            kinds = [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]
            array = array.cast(rng.choice(kinds))
        arrays.append(array)
    sink = io.BytesIO()
    pa.parquet.write_table(pa.table(arrays, list(columns)), sink)
    return sink.getvalue()


WRITERS = {"csv": as_csv, "jsonl": as_json_lines, "parquet": as_parquet}


def reference(form: str, content: bytes) -> Likes | None:
    """Meaning of the file, None if it means nothing."""
    try:
        if form == "csv":
            return understand(parse_csv(content), typed=False)
        if form == "jsonl":
            return understand(parse_json_lines(content), typed=True)
        return understand(pa.parquet.read_table(io.BytesIO(content)).to_pydict(), typed=True)
    except MISTAKES:
        return None


def read(path: Path) -> Likes | None:
    """Meaning of the only file of a folder to the readers, None if they refuse it."""
    try:
        data = read_dataset(path.parent)
    except InputError as error:
        assert str(error).startswith(path.name), error
        return None

    def pairs(log: Any) -> list[tuple[str, str]]:
        both = zip(log.user_idx.tolist(), log.item_idx.tolist(), strict=True)
        return [(data.users[user], data.items[item]) for user, item in both]

    def listed(values: Any, n: int) -> list[Any]:
        return [None] * n if values is None else values.tolist()

    log = data.interactions
    n = len(log.user_idx)
    facts = [listed(values, n) for values in (log.weight, log.timestamp, log.label)]
    likes = dict(zip(pairs(log), zip(*facts, strict=True), strict=True))
    if data.dislikes is None or data.dislikes.weight is None:
        return Likes(likes, {})
    weights = data.dislikes.weight.tolist()
    return Likes(likes, dict(zip(pairs(data.dislikes), weights, strict=True)))


def check(path: Path, content: bytes) -> Likes | None:
    """Whatever is read is right; returns it."""
    path.write_bytes(content)
    found = read(path)
    if found is not None:
        assert found == reference(path.suffix[1:], content), content
    return found


@pytest.mark.parametrize("form", WRITERS)
def test_tables_without_damage_are_read(tmp_path: Path, form: str) -> None:
    rng = random.Random(1)
    for _ in range(CASES):
        made = table(rng)
        expected = understand(made, typed=True)
        assert check(tmp_path / f"interactions.{form}", WRITERS[form](made, rng)) == expected, made


@pytest.mark.parametrize("form", WRITERS)
def test_one_wrong_value(tmp_path: Path, form: str) -> None:
    rng = random.Random(2)
    refused = 0
    for _ in range(CASES):
        made = table(rng)
        values = made[rng.choice(list(made))]
        values[rng.randrange(len(values))] = rng.choice(BAD)
        content = WRITERS[form](made, rng)
        refused += check(tmp_path / f"interactions.{form}", content) is None
    assert CASES / 4 < refused < CASES


@pytest.mark.parametrize("form", WRITERS)
def test_damaged_files(tmp_path: Path, form: str) -> None:
    rng = random.Random(3)
    refused = 0
    for _ in range(CASES):
        content = WRITERS[form](table(rng), rng)
        place, length = rng.randrange(len(content)), rng.choice([0, 0, 1, 2, 20])
        piece = rng.choice(PIECES).encode() if rng.random() < 0.7 else b""
        if form == "parquet":  # which has no checksum that would tell changed values
            content = content[:place]
        else:
            content = content[:place] + piece + content[place + length :]
        refused += check(tmp_path / f"interactions.{form}", content) is None
    assert CASES / 4 < refused <= CASES
