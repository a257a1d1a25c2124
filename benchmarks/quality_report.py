"""From the runs of a table to means, gains with their uncertainty, Markdown and a figure."""

import statistics
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from quality_jobs import Job

from training.bootstrap import paired_bootstrap

PROTOCOL = (
    "Full ranking over all items, train items masked; recall@k divided by the user's number of "
    "test items, ndcg@k binary with the ideal list cut at min(that number, k); users without test "
    "items skipped; equal scores count against the model. Mean ± sd over seeds, or a single run."
)
COLUMNS = (("valid", "recall@20"), ("test", "recall@20"), ("test", "ndcg@20"))
WHAT = ("model", "config", "settings", "modalities", "lost")
"""What a run's result depends on, apart from data, seed and device."""
Runs = dict[str, list[dict[str, Any]]]


def rows(
    jobs: list[Job], runs: Runs, parts: tuple[str, ...] = ("valid", "test")
) -> list[dict[str, Any]]:
    """A row for each job that has runs: metrics of each seed, mean and sd, gains, what it took.

    Args:
        jobs: in the order of the table.
        runs: of each job, by its label, a run for each seed.
        parts: of the split; valid alone where something is still to be chosen.
    """
    found = []
    for job in jobs:
        of_job = runs.get(job.label)
        if not of_job:
            continue
        row: dict[str, Any] = {"label": job.label, "seeds": [run["seed"] for run in of_job]}
        row["model"], row["config"] = job.model, of_job[0]["config"]["model"]
        row["settings"], row["lost"] = of_job[0]["settings"], job.lost
        for part in parts:
            names = of_job[0][part]
            row[part] = {name: _summary([run[part][name] for run in of_job]) for name in names}
        row["epochs"] = statistics.mean(run["epochs"] for run in of_job)
        row["seconds"] = statistics.mean(run["seconds"] for run in of_job)
        row["width"] = of_job[0].get("width")
        others = runs.get(job.versus or "")
        if others:
            row["versus"], row["gain"] = job.versus, gains(of_job, others)
            row["same"] = all(of_job[0][key] == others[0][key] for key in WHAT)
        found.append(row)
    return found


def _summary(values: list[float]) -> dict[str, Any]:
    sd = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.mean(values), "sd": sd, "seeds": values}


def gains(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> dict[str, Any]:
    """Paired bootstrap over users, of their means over the seeds."""
    return {
        name: asdict(
            paired_bootstrap(
                np.mean([run["users"][name] for run in ours], 0),
                np.mean([run["users"][name] for run in theirs], 0),
                np.random.default_rng(0),
            )
        )
        for name in ours[0]["users"]
    }


def markdown(
    title: str,
    table: list[dict[str, Any]],
    runs: Iterable[dict[str, Any]],
    how: list[str],
    figure: str | None = None,
) -> str:
    """The page of a table.

    Args:
        title: its heading.
        table: see `rows`.
        runs: all that are in it, for versions and hardware.
        how: lines on data, split and command.
        figure: a file beside the page.
    """
    with_gain = any("gain" in row for row in table)
    columns = [(part, name) for part, name in COLUMNS if not table or part in table[0]]
    head = ["", *(f"{part} {name}" for part, name in columns), "columns", "epochs", "s"]
    if with_gain:
        head += ["gain in recall@20 (95 %)", "gain in ndcg@20 (95 %)"]
    lines = [f"# {title}", "", _line(head), _line(["---"] * len(head))]
    for row in table:
        cells = [row["label"], *(_mean_and_sd(row[part][name]) for part, name in columns)]
        cells += [str(row["width"] or "–"), f"{row['epochs']:.0f}", f"{row['seconds']:.0f}"]
        if with_gain:
            cells += [_gain(row, name) for name in ("recall@20", "ndcg@20")]
        lines.append(_line(cells))
    if figure:
        lines += ["", f"![{title}]({figure})"]
    lines += ["", PROTOCOL]
    if with_gain:
        lines.append(
            "Gains are over the row that is named; 95 % of 10,000 paired resamples of the users, "
            "each user's metric averaged over the seeds."
        )
    runs = list(runs)
    lines += ["", *how, "", *sorted({run["hardware"] for run in runs})]
    lines += sorted(
        {", ".join(f"{name} {number}" for name, number in run["versions"].items()) for run in runs}
    )
    return "\n".join(lines) + "\n"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _mean_and_sd(summary: dict[str, Any]) -> str:
    sd = "" if summary["sd"] is None else f" ± {summary['sd']:.4f}"
    return f"{summary['mean']:.4f}{sd}"


def _gain(row: dict[str, Any], name: str) -> str:
    if "gain" not in row:
        return ""
    if row["same"]:
        return f"the same as {row['versus']}"
    gain = row["gain"][name]
    return (
        f"{gain['mean']:+.4f} ({gain['low']:+.4f} … {gain['high']:+.4f}), p {gain['p']:.4f}, "
        f"over {row['versus']}"
    )


def draw(table: list[dict[str, Any]], jobs: list[Job], file: Path) -> None:
    """Test recall@20 over the share of items that lost a modality, as SVG."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["svg.hashsalt"] = "drepmrec"  # the same figure is the same file
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.add_subplot()
    curve_of = {job.label: job.curve for job in jobs}
    for curve in dict.fromkeys(curve_of.values()):
        points = [row for row in table if curve_of[row["label"]] == curve]
        if curve is None:
            for row in points:
                mean = row["test"]["recall@20"]["mean"]
                axes.axhline(mean, color="grey", linestyle=":", label=row["label"])
        elif points:
            found = [row["test"]["recall@20"] for row in points]
            axes.errorbar(
                [100 * row["lost"] for row in points],
                [summary["mean"] for summary in found],
                [summary["sd"] or 0 for summary in found],
                marker="o",
                capsize=3,
                label=curve,
            )
    axes.set_xlabel("items that lost one modality, %")
    axes.set_ylabel("test recall@20")
    axes.legend()
    figure.savefig(file, format="svg", metadata={"Date": None})
