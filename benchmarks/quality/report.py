"""Tables of runs: means, gains with confidence intervals, Markdown and a figure."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality.tables import Job
from training.evaluation.bootstrap import holm, paired_bootstrap

PROTOCOL = (
    "Full ranking over all items, train items masked; recall@k divided by the user's number of "
    "test items, ndcg@k binary with the ideal list cut at min(that number, k); users without test "
    "items skipped; equal scores count against the model. Mean ± sd over seeds, or a single run."
)
TIMES = (
    "s, CPU s: wall and processor seconds of one fit, with the evaluations on valid that stop it "
    "and without the choice of hyper-parameters; older runs have wall seconds alone."
)
HIT_RATES = (
    "Hit rate: the share of the test pairs of items with up to 7, 8 to 31, and 32 or more train "
    "interactions that are in the user's top 20; older runs have none."
)
HOLM = (
    "Holm: p corrected for the number of rows that are compared here (Holm 1979). A row of fewer "
    "seeds is compared with the same seeds of the other row."
)
COLUMNS = (("valid", "recall@20"), ("test", "recall@20"), ("test", "ndcg@20"))
RESULT_DEPENDS_ON = ("model", "config", "settings", "modalities", "lost")
"""Fields of a run that decide its result, apart from data, seed and device."""
Runs = dict[str, list[dict[str, Any]]]
"""Runs of each row, one for each seed, by the row's label."""


def rows(
    jobs: list[Job],
    runs: Runs,
    parts: tuple[str, ...] = ("valid", "test"),
    one_question: bool = False,
) -> list[dict[str, Any]]:
    """Rows of a table: metrics of each seed with mean and sd, gains, costs.

    Args:
        jobs: in the order of the table; those without runs are left out.
        runs: of each job.
        parts: of the split; valid alone where something is still to be chosen.
        one_question: whether the rows are variants that all try the same. A row of fewer seeds is
            then compared with the same seeds of the other row, and p-values have Holm's correction.
    """
    found = []
    for job in jobs:
        of_job = runs.get(job.label)
        if not of_job:
            continue
        row: dict[str, Any] = {"label": job.label, "seeds": [run["seed"] for run in of_job]}
        row["runs"] = [run["run"] for run in of_job if "run" in run]
        row["model"], row["config"] = job.model, of_job[0]["config"]["model"]
        row["settings"], row["lost"], row["curve"] = of_job[0]["settings"], job.lost, job.curve
        for part in parts:
            names = of_job[0][part]
            row[part] = {name: _summary([run[part][name] for run in of_job]) for name in names}
        rates = [run["hit_rates"] for run in of_job if "hit_rates" in run]
        row["hit_rates"] = None
        if len(rates) == len(of_job):
            row["hit_rates"] = {n: statistics.mean(r[n] for r in rates) for n in rates[0]}
        row["epochs"] = statistics.mean(run["epochs"] for run in of_job)
        row["seconds"] = statistics.mean(run["seconds"] for run in of_job)
        cpu = [run["cpu_seconds"] for run in of_job if "cpu_seconds" in run]
        row["cpu_seconds"] = statistics.mean(cpu) if len(cpu) == len(of_job) else None
        row["width"], row["chosen"] = of_job[0].get("width"), of_job[0].get("chosen")
        others = runs.get(job.versus or "", [])
        if one_question:
            others = [run for run in others if run["seed"] in row["seeds"]]
        if others:
            row["versus"], row["gain"] = job.versus, gains(of_job, others)
            row["same"] = all(of_job[0][key] == others[0][key] for key in RESULT_DEPENDS_ON)
        found.append(row)
    if one_question:
        _correct(found)
    return found


def _correct(table: list[dict[str, Any]]) -> None:
    """Add Holm's correction to the gains of a table, for each metric over all rows."""
    gained = [row["gain"] for row in table if "gain" in row and not row["same"]]
    for name in gained[0] if gained else ():
        corrected = holm([gain[name]["p"] for gain in gained])
        for gain, p in zip(gained, corrected, strict=True):
            gain[name]["holm"] = p


def _summary(values: list[float]) -> dict[str, Any]:
    sd = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.mean(values), "sd": sd, "seeds": values}


def gains(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> dict[str, Any]:
    """Paired bootstrap over users, of each user's mean over the seeds."""
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


def numbers(title: str, table: list[dict[str, Any]], runs: Runs, **about: Any) -> dict[str, Any]:
    """Contents of the JSON file of a table.

    Args:
        title: heading of the page.
        table: see `rows`.
        runs: all runs of the table, for machines and versions.
        about: sentences `chosen` (on valid) and `data`, and the `command`.
    """
    everything = [run for of_job in runs.values() for run in of_job]
    made_by = {
        ", ".join(f"{name} {x}" for name, x in run["versions"].items()) for run in everything
    }
    return {
        "kind": "table",
        "title": title,
        **about,
        "hardware": sorted({run["hardware"] for run in everything}),
        "versions": sorted(made_by),
        "rows": table,
    }


def markdown(found: dict[str, Any], figure: str) -> str:
    """Page of a table.

    Args:
        found: see `numbers`.
        figure: file name of its figure; used where rows have curves.
    """
    table = found["rows"]
    with_gain = any("gain" in row for row in table)
    columns = [(part, name) for part, name in COLUMNS if not table or part in table[0]]
    with_rates = any(row.get("hit_rates") for row in table)
    head = ["", *(f"{part} {name}" for part, name in columns)]
    if "test" in (table[0] if table else ()):
        head.append("coverage@20")
    if with_rates:
        head.append("hit rate of items")
    head += ["columns", "epochs", "s", "CPU s"]
    if with_gain:
        head += ["gain in recall@20 (95 %)", "gain in ndcg@20 (95 %)"]
    lines = [f"# {found['title']}", "", _line(head), _line(["---"] * len(head))]
    for row in table:
        cells = [row["label"], *(_mean_and_sd(row[part][name]) for part, name in columns)]
        if "test" in row:
            cells.append(f"{row['test']['coverage@20']['mean']:.2f}")
        if with_rates:
            rates = row.get("hit_rates")
            cells.append(", ".join(f"{x:.3f}" for x in rates.values()) if rates else "–")
        cells += [str(row["width"] or "–"), f"{row['epochs']:.0f}", f"{row['seconds']:.0f}"]
        cpu = row.get("cpu_seconds")
        cells.append("–" if cpu is None else f"{cpu:.1f}" if cpu < 10 else f"{cpu:.0f}")
        if with_gain:
            cells += [_gain(row, name) for name in ("recall@20", "ndcg@20")]
        lines.append(_line(cells))
    if has_figure(found):
        lines += ["", f"![{found['title']}]({figure})"]
    lines += ["", PROTOCOL, TIMES]
    if with_rates:
        lines.append(HIT_RATES)
    if with_gain:
        lines.append(
            "Gains are over the row that is named; 95 % of 10,000 paired resamples of the users, "
            "each user's metric averaged over the seeds."
        )
    if any("holm" in gain for row in table for gain in row.get("gain", {}).values()):
        lines.append(HOLM)
    lines += ["", found["chosen"], "", found["data"], "", f"`{found['command']}`", ""]
    return "\n".join([*lines, *found["hardware"], *found["versions"]]) + "\n"


def _line(cells: Sequence[str]) -> str:
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
    corrected = f" (Holm {gain['holm']:.4f})" if "holm" in gain else ""
    return (
        f"{gain['mean']:+.4f} ({gain['low']:+.4f} … {gain['high']:+.4f}), p {gain['p']:.4f}"
        f"{corrected}, over {row['versus']}"
    )


def has_figure(found: dict[str, Any]) -> bool:
    """True if a table has curves to draw."""
    return any(row.get("curve") for row in found["rows"])


def draw(found: dict[str, Any], file: Path) -> None:
    """Test recall@20 over the share of items that lost a modality, as SVG."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.add_subplot()
    for curve in dict.fromkeys(row["curve"] for row in found["rows"]):
        points = [row for row in found["rows"] if row["curve"] == curve]
        recalls = [row["test"]["recall@20"] for row in points]
        if curve is None:
            for row, recall in zip(points, recalls, strict=True):
                axes.axhline(recall["mean"], color="grey", linestyle=":", label=row["label"])
            continue
        axes.errorbar(
            [100 * row["lost"] for row in points],
            [recall["mean"] for recall in recalls],
            [recall["sd"] or 0 for recall in recalls],
            marker="o",
            capsize=3,
            label=curve,
        )
    axes.set_xlabel("items that lost one modality, %")
    axes.set_ylabel("test recall@20")
    axes.legend()
    with mpl.rc_context({"svg.hashsalt": "drepmrec"}):  # equal figures are equal files
        figure.savefig(file, format="svg", metadata={"Date": None})
