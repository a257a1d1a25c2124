"""Reference of the readers of interactions: plain Python, row by row, and nothing repaired."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

Columns = Mapping[str, Sequence[Any]]
Pair = tuple[str, str]

LABELS = {
    spelling: label
    for label, word in enumerate(("train", "valid", "test"))
    for spelling in (word, str(label), f"{label}.0")
}
LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Likes:
    """Meaning of a log: (weight, seconds, label) of each liked pair, weights of disliked ones."""

    likes: dict[Pair, tuple[float | None, float | None, int | None]]
    dislikes: dict[Pair, float]


def parse_csv(content: bytes) -> Columns:
    """Columns of texts, as RFC 4180 says.

    Raises:
        ValueError: the file does not follow it, or is not UTF-8.
    """
    blank = [(False, "")]
    records = [record for record in _records(content.decode("utf-8-sig")) if record != blank]
    header, *rows = [[text for _, text in record] for record in records]
    if len(set(header)) < len(header) or any(len(row) != len(header) for row in rows):
        raise ValueError("names or numbers of fields")
    return {name: [row[n] or None for row in rows] for n, name in enumerate(header)}


def _records(text: str) -> list[list[tuple[bool, str]]]:
    """Fields of each line: whether they were quoted, and their text."""
    text = re.sub(r"(?s)\A(.*[^\r\n])\Z", r"\1\n", text)
    records: list[list[tuple[bool, str]]] = []
    record: list[tuple[bool, str]] = []
    place = 0
    while place < len(text):
        if text[place] == '"':
            quoted = re.compile(r'"((?:[^"]|"")*)"').match(text, place)
            if quoted is None:
                raise ValueError("a quote is not closed")
            record.append((True, quoted[1].replace('""', '"')))
            place = quoted.end()
        else:
            end = re.compile(r"[^,\r\n]*").match(text, place)
            assert end is not None
            record.append((False, end[0]))
            place = end.end()
        stop = re.compile(r",|\r\n?|\n").match(text, place)
        if stop is None:
            raise ValueError("text after a quote")
        place = stop.end()
        if stop[0] != ",":
            records.append(record)
            record = []
        elif place == len(text):
            raise ValueError("a line without an end")
    return records


def parse_json_lines(content: bytes) -> Columns:
    """Columns of values; None for keys that an object lacks.

    Raises:
        ValueError: not a sequence of JSON objects in UTF-8.
    """
    text = content.decode("utf-8-sig").strip(" \t\r\n")
    rows: list[dict[str, Any]] = []
    while text:
        row, end = json.JSONDecoder().raw_decode(text)
        if not isinstance(row, dict):
            raise ValueError("not an object")
        rows.append(row)
        text = text[end:].lstrip(" \t\r\n")
    names = {name for row in rows for name in row}
    return {name: [row.get(name) for row in rows] for name in names}


def understand(columns: Columns, typed: bool) -> Likes:
    """Meaning of a log.

    Args:
        columns: values by name.
        typed: whether values have types; otherwise all are texts.

    Raises:
        ValueError, KeyError, TypeError: it has none.
    """
    pairs = list(zip(_ids(columns["user_id"], typed), _ids(columns["item_id"], typed), strict=True))
    weights = times = labels = None
    if "weight" in columns:
        weights = [_number(value, typed) for value in columns["weight"]]
    if "timestamp" in columns:
        times = [_seconds(value) for value in columns["timestamp"]]
    if "split" in columns:
        labels = [LABELS[_label(value)] for value in columns["split"]]
    if not pairs or (labels and 0 not in labels) or (weights and max(weights) <= 0):
        raise ValueError("nothing to train on")

    likes: dict[Pair, tuple[float | None, float | None, int | None]] = {}
    dislikes: dict[Pair, float] = {}
    for pair in set(pairs):
        rows = [row for row, other in enumerate(pairs) if other == pair]
        rows.sort(key=lambda row: times[row] if times else 0)
        if weights and weights[rows[-1]] <= 0:
            if labels is None or labels[rows[-1]] == 0:
                dislikes[pair] = float(np.float32(weights[rows[-1]]))
            continue
        rows = [row for row in rows if weights is None or weights[row] > 0]
        likes[pair] = (
            float(np.float32(weights[rows[0]])) if weights else None,
            times[rows[0]] if times else None,
            min(labels[row] for row in rows) if labels else None,
        )
    return Likes(likes, dislikes)


def _ids(values: Sequence[Any], typed: bool) -> list[str]:
    kinds = {type(value) for value in values}
    if kinds != {str} and not (typed and kinds == {int}):
        raise TypeError("neither texts nor integers")
    if "" in values:
        raise ValueError("an empty id")
    return [str(value) for value in values]


def _number(value: Any, typed: bool) -> float:
    if isinstance(value, bool) or isinstance(value, str) == typed:
        raise TypeError("not a number")
    number = float(value)
    if not abs(number) <= LARGEST:
        raise ValueError("not finite")
    return number


def _seconds(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError("not a moment")
    try:
        number = float(value)
    except ValueError:
        moment = datetime.fromisoformat(value)
        number = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    else:
        number = number / 1000 if abs(number) > 2e10 else number
    if not 0 <= number < 253_402_300_800:
        raise ValueError("beyond the calendar")
    return number


def _label(value: Any) -> str:
    if isinstance(value, bool):
        raise TypeError("not a label")
    return str(value)
