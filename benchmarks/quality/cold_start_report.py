"""Pages of `benchmarks.quality.cold_start`."""

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
    """Recall of warm items beside new ones, as a share of their recall without them."""
    return metrics["warm"] / max(metrics["warm_alone"], 1e-12)


def markdown(found: dict[str, Any]) -> str:
    """Page with means and standard deviations over the seeds."""
    runs = found["runs"]
    body = _items(runs) if found["kind"] == "items" else _users(runs)
    made_by = ", ".join(f"{key} {value}" for key, value in found["versions"].items())
    lines = [
        f"# New {found['kind']}: {found['data']}",
        "",
        *body,
        "",
        f"Mean ± sd of seeds {[run['seed'] for run in runs]}.",
        "",
        f"`{found['command']}`",
        "",
        f"{found['hardware']}; {made_by}",
    ]
    return "\n".join([*lines, ""])


def _cell(values: list[float]) -> str:
    sd = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{sd}"


def _items(runs: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| test recall@20 of new items | among new | among all | warm items |",
        "|---|---|---|---|",
    ]
    for name in ROWS:
        cells = [_cell([run[name][key] for run in runs]) for key in ("among_new", "among_all")]
        shares = [warm_share(run[name]) for run in runs if "warm" in run[name]]
        lines.append(
            f"| {name} | {' | '.join(cells)} | {f'× {_cell(shares)}' if shares else '–'} |"
        )
    boosts, of_nearest = (
        ", ".join(f"{run[key]:.4g}" for run in runs) for key in ("boost", "boost of k-NN")
    )
    pairs = ", ".join(str(run["pairs"]) for run in runs)
    return [
        *lines,
        "",
        f"Added to new items' scores, chosen on valid: {boosts}; to those of k-NN in the "
        f"encoder's place: {of_nearest}. Test pairs: {pairs}.",
    ]


def _users(runs: list[dict[str, Any]]) -> list[str]:
    lines = [
        f"| test recall@20 of {runs[0]['users']} new users | | × trained |",
        "|---|---|---|",
    ]
    for name in [key for key in runs[0] if key not in ("seed", "users")]:
        shares = [run[name] / max(run["trained"], 1e-12) for run in runs]
        lines.append(f"| {name} | {_cell([run[name] for run in runs])} | {_cell(shares)} |")
    return lines
