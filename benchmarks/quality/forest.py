"""Forest plot: gains of the rows of several tables on test, with intervals, and on valid."""

import statistics
from pathlib import Path
from typing import Any

METRIC = "recall@20"


def gain_on_valid(row: dict[str, Any], table: list[dict[str, Any]]) -> float:
    """Mean gain on valid over the row that a row is compared with, of the seeds that it has.

    Args:
        row: of a table, see `benchmarks.quality.report.rows`.
        table: all rows.
    """
    versus = next(other for other in table if other["label"] == row["versus"])
    before = dict(zip(versus["seeds"], versus["valid"][METRIC]["seeds"], strict=True))
    of_seeds = zip(row["seeds"], row["valid"][METRIC]["seeds"], strict=True)
    mean: float = statistics.mean(value - before[seed] for seed, value in of_seeds)
    return mean


def draw(tables: list[dict[str, Any]], file: Path) -> None:
    """Draw the rows with a gain, as SVG; rows of fewer seeds than the first row are hollow.

    Args:
        tables: contents of files of numbers, one panel each; equal labels share a line.
        file: to write.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    gained = [[row for row in found["rows"] if "gain" in row] for found in tables]
    labels = list(dict.fromkeys(row["label"] for rows in gained for row in rows))
    figure = Figure(figsize=(9, 1.2 + 0.2 * len(labels)), layout="constrained")
    panels = figure.subplots(1, len(tables), sharex=True, sharey=True, squeeze=False)[0]
    for axes, found, rows in zip(panels, tables, gained, strict=True):
        axes.axvline(0, color="grey", linewidth=0.8)
        seeds = len(found["rows"][0]["seeds"])
        for filled, label in ((True, f"test, {seeds} seeds, 95 %"), (False, "test, fewer seeds")):
            drawn = [row for row in rows if (len(row["seeds"]) == seeds) == filled]
            gains = [row["gain"][METRIC] for row in drawn]
            axes.errorbar(
                [gain["mean"] for gain in gains],
                [-labels.index(row["label"]) for row in drawn],
                xerr=[
                    [gain["mean"] - gain["low"] for gain in gains],
                    [gain["high"] - gain["mean"] for gain in gains],
                ],
                fmt="o",
                color="C0" if filled else "0.6",
                markerfacecolor=None if filled else "white",
                markersize=4,
                capsize=2,
                label=label,
            )
        on_valid = [gain_on_valid(row, found["rows"]) for row in rows]
        places = [-labels.index(row["label"]) for row in rows]
        axes.plot(on_valid, places, "kx", markersize=4, label="valid")
        axes.set_title(found["title"])
        axes.set_xlabel(f"gain in {METRIC}")
        axes.locator_params("x", nbins=5)
    panels[0].set_yticks([-n for n in range(len(labels))], labels)
    handles = panels[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=3)
    with mpl.rc_context({"svg.hashsalt": "drepmrec"}):  # equal figures are equal files
        figure.savefig(file, format="svg", metadata={"Date": None})
