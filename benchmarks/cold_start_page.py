"""The pages of cold_start.py."""

import statistics
from typing import Any

ROWS = (
    "DRepMRec",
    "DRepMRec, nothing added",
    "DRepMRec, the last place for a new item",
    "DRepMRec, raw k-NN for new items",
    "raw k-NN",
    "popularity",
)


def warm_share(metrics: dict[str, float]) -> float:
    """Recall of warm items with new ones among them, as a share of that without."""
    return metrics["warm"] / max(metrics["warm_alone"], 1e-12)


def page(title: str, what: str, runs: list[dict[str, Any]], how: list[str]) -> str:
    """Means and standard deviations over the seeds, as Markdown."""

    def cell(values: list[float]) -> str:
        sd = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
        return f"{statistics.mean(values):.4f}{sd}"

    lines = [f"# {title}", ""]
    if what == "items":
        lines += [
            "| test recall@20 of new items | among new | among all | warm items |",
            "|---|---|---|---|",
        ]
        for name in ROWS:
            cells = [cell([run[name][key] for run in runs]) for key in ("among_new", "among_all")]
            shares = [warm_share(run[name]) for run in runs if "warm" in run[name]]
            lines.append(
                f"| {name} | {' | '.join(cells)} | {f'× {cell(shares)}' if shares else '–'} |"
            )
        added, of_nearest = (
            ", ".join(f"{run[key]:.4g}" for run in runs) for key in ("boost", "boost of k-NN")
        )
        pairs = ", ".join(str(run["pairs"]) for run in runs)
        lines += [
            "",
            f"Added to new items' scores, chosen on valid: {added}; to those of k-NN in the "
            f"encoder's place: {of_nearest}. Test pairs: {pairs}.",
        ]
    else:
        lines += [
            f"| test recall@20 of {runs[0]['users']} new users | | × trained |",
            "|---|---|---|",
        ]
        for name in [key for key in runs[0] if key not in ("seed", "users")]:
            shares = [run[name] / max(run["trained"], 1e-12) for run in runs]
            lines.append(f"| {name} | {cell([run[name] for run in runs])} | {cell(shares)} |")
    return "\n".join([*lines, "", *how, ""])
