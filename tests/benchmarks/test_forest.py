"""Forest plots: gains by seed, and the looks of rows of fewer seeds."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.quality.forest import draw, gain_on_valid


def row(label: str, recalls: dict[int, float], gain: float | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "label": label,
        "seeds": list(recalls),
        "valid": {"recall@20": {"seeds": list(recalls.values())}},
    }
    if gain is not None:
        bounds = {"mean": gain, "low": gain - 0.01, "high": gain + 0.01, "p": 0.5}
        found |= {"versus": "base", "gain": {"recall@20": bounds}}
    return found


BASE = row("base", {0: 0.1, 1: 0.2, 2: 0.3})


def test_the_gain_on_valid_is_that_of_equal_seeds() -> None:
    form = row("a form", {2: 0.35, 1: 0.21}, 0.0)
    assert gain_on_valid(form, [BASE, form]) == pytest.approx((0.05 + 0.01) / 2)


def test_equal_tables_are_equal_files_and_fewer_seeds_look_different(tmp_path: Path) -> None:
    whole, partly = row("form", {0: 0.1, 1: 0.2, 2: 0.3}, 0.01), row("form", {0: 0.1}, 0.01)
    files = [tmp_path / f"{name}.svg" for name in ("first", "again", "partly")]
    for file, form in zip(files, (whole, whole, partly), strict=True):
        draw([{"title": "a set", "rows": [BASE, form]}, {"title": "b", "rows": [BASE]}], file)
    first, again, hollow = (file.read_bytes() for file in files)
    assert first == again != hollow
