"""Pages of `benchmarks.quality.cold_start`."""

import statistics
from pathlib import Path
from typing import Any

EXPORTED = "exported"
"""Label of the scores as the bundle has them, with no boost but the encoder's own."""


def markdown(found: dict[str, Any], figure: str) -> str:
    """Page of the numbers.

    Args:
        found: the numbers.
        figure: file name of the figure, of new items.
    """
    body = _items(found, figure) if found["kind"] == "items" else _users(found["runs"])
    made_by = ", ".join(f"{key} {value}" for key, value in found["versions"].items())
    lines = [
        f"# New {found['kind']}: {found['data']}",
        "",
        *body,
        "",
        f"`{found['command']}`",
        "",
        f"{found['hardware']}; {made_by}",
    ]
    return "\n".join([*lines, ""])


def draw(found: dict[str, Any], file: Path) -> None:
    """Curve of new items' recall over the share of their recall that known items keep."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for name, row in found["models"].items():
        points = [point for label, point in row["kept"].items() if label != EXPORTED]
        shares, recalls = ([point[key] for point in points] for key in ("share", "new"))
        axes.plot(shares, recalls, marker="o", label=name)
        if EXPORTED in row["kept"]:
            point = row["kept"][EXPORTED]
            axes.plot(point["share"], point["new"], "k*", label=f"{name}, as exported")
    axes.set_xlabel("share of their recall@20 that known items keep")
    axes.set_ylabel("recall@20 of new items among all")
    axes.invert_xaxis()
    axes.legend()
    with mpl.rc_context({"svg.hashsalt": "drepmrec"}):  # equal figures are equal files
        figure.savefig(file, format="svg", metadata={"Date": None})


def _cell(values: list[float]) -> str:
    sd = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{sd}"


def _items(found: dict[str, Any], figure: str) -> list[str]:
    models, gains = found["models"], found["gains"]
    lengths = list(next(iter(models.values()))["among_new"])
    lines = [
        f"| recall of new items among new | {' | '.join(f'@{k}' for k in lengths)} |",
        f"|---|{'---|' * len(lengths)}",
    ]
    for name, row in models.items():
        cells = [f"{row['among_new'][k]:.4f}" for k in lengths]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines.append(
        f"| gain over k-NN | {' | '.join(_gain(gains[f'among_new/{k}']) for k in lengths)} |"
    )
    lines += [
        "",
        "| known items keep | way of scoring | on test | new items | known and new items |",
        "|---|---|---|---|---|",
    ]
    labels = list(dict.fromkeys(label for row in models.values() for label in row["kept"]))
    for label in labels:
        for name, row in models.items():
            if label in row["kept"]:
                point = row["kept"][label]
                lines.append(
                    f"| {label} | {name} | × {point['share']:.3f} | {point['new']:.4f} "
                    f"| {point['all']:.4f} |"
                )
        if f"{label}/new" in gains:
            lines.append(
                f"| {label} | gain over k-NN in the encoder's place | "
                f"| {_gain(gains[f'{label}/new'])} | {_gain(gains[f'{label}/all'])} |"
            )
    return [
        *lines,
        "",
        f"![New items' recall over known items' share]({figure})",
        "",
        "Recall@20 in lists of all items, by the share of their recall@20 that known items keep on "
        "valid: of new items, and of all relevant items together. "
        f"`{EXPORTED}`: scores as the bundle has them. {found['folds']} folds, each item is new in "
        f"one of them; {found['pairs']:,} test pairs of new items. Means over users, of each user "
        "over the folds; gains: of DRepMRec over k-NN in the encoder's place, 95 % of 10,000 "
        "paired resamples of the users.",
    ]


def _gain(gain: dict[str, float]) -> str:
    return f"{gain['mean']:+.4f} ({gain['low']:+.4f} … {gain['high']:+.4f}), p {gain['p']:.4f}"


def _users(runs: list[dict[str, Any]]) -> list[str]:
    lines = [
        f"| test recall@20 of {runs[0]['users']} new users | | × trained |",
        "|---|---|---|",
    ]
    for name in [key for key in runs[0] if key not in ("seed", "users")]:
        shares = [run[name] / max(run["trained"], 1e-12) for run in runs]
        lines.append(f"| {name} | {_cell([run[name] for run in runs])} | {_cell(shares)} |")
    return [*lines, "", f"Mean ± sd of seeds {[run['seed'] for run in runs]}."]
