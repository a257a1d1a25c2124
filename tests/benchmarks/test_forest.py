"""Forest plots: gains by seed, and rows that have all seeds."""

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


def test_rows_without_all_seeds_are_not_drawn(tmp_path: Path) -> None:
    whole, partly = row("whole", {0: 0.1, 1: 0.2, 2: 0.3}, 0.01), row("partly", {0: 0.5}, 0.4)
    files = [tmp_path / f"{name}.svg" for name in ("both", "again", "whole")]
    for file, rows in zip(files, ([whole, partly], [whole, partly], [whole]), strict=True):
        draw([{"title": "a set", "rows": [BASE, *rows]}], file)
    drawn = [file.read_bytes() for file in files]
    assert drawn[0] == drawn[1] == drawn[2]
    draw(
        [{"title": "a set", "rows": [BASE, row("whole", {0: 0.1, 1: 0.2, 2: 0.3}, 0.02)]}], files[0]
    )
    assert files[0].read_bytes() != drawn[2]
