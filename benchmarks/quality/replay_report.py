"""Results of a replayed log: means, confidence intervals, a page and a figure."""

from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

SHARE = 0.6
"""Share of the log that the first model is fitted on."""
K = 20
ARMS = ("frozen", "online", "refresh", "refit")
STEPS = (("frozen", "online"), ("online", "refresh"), ("refresh", "refit"))
"""Pairs of services whose difference is published."""
GROUPS = ("all", "trained", "new")
"""Groups of users: all, known at the first fit, new since then."""
RESAMPLES = 10_000
Sums = NDArray[np.float64]


class Week(NamedTuple):
    """Measurements of one week.

    Attributes:
        events: number of interactions in the week.
        recalls: by service, recall@20 by user.
        refused: services whose next bundle was refused by the gate at the end of the week.
    """

    events: int
    recalls: dict[str, dict[str, float]]
    refused: list[str]


class Replay(NamedTuple):
    """Weeks of one seed, and the users who were known at the first fit."""

    weeks: list[Week]
    trained: set[str]


def by_user(replays: list[Replay], group: str, arm: str, less: str | None = None) -> Sums:
    """Sum of a service's recall over weeks and seeds, and the number of terms, for each user.

    Args:
        replays: one for each seed.
        group: one of GROUPS.
        arm: the service.
        less: another service, whose recall is subtracted.

    Returns:
        [U, 2]; resampling its rows keeps the weeks of a user together.
    """
    sums: dict[str, Any] = defaultdict(lambda: np.zeros(2))
    for weeks, trained in replays:
        for week in weeks:
            for user in week.recalls[arm]:
                if group == "all" or (user in trained) == (group == "trained"):
                    recall = week.recalls[arm][user]
                    sums[user] += recall - (week.recalls[less][user] if less else 0), 1
    return np.array([*sums.values()])


def mean(sums: Sums) -> float:
    """Mean over users and weeks of sums [U, 2]."""
    total, count = sums.sum(0)
    return float(total / count)


def interval(sums: Sums) -> tuple[float, float]:
    """95 % bootstrap interval, over users, of the mean of sums [U, 2]."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(sums), size=(RESAMPLES, len(sums)))
    total, count = sums[drawn].sum(1).T
    low, high = np.quantile(total / count, [0.025, 0.975])
    return float(low), float(high)


def results(replays: list[Replay]) -> dict[str, Any]:
    """Means by service and group, differences between services, and means by week."""
    found: dict[str, Any] = {"means": {}, "differences": {}, "weeks": []}
    arms = list(replays[0].weeks[0].recalls)
    for group in GROUPS:
        for arm in arms:
            sums = by_user(replays, group, arm)
            seeds = [mean(by_user([r], group, arm)) for r in replays]
            found["means"].setdefault(arm, {})[group] = {"mean": mean(sums), "by_seed": seeds}
        found.setdefault("users", {})[group] = len(sums)
        found.setdefault("asked", {})[group] = int(sums[:, 1].sum()) // len(replays)
    for less, more in STEPS:
        if not {less, more} <= set(arms):
            continue
        sums = by_user(replays, "all", more, less)
        found["differences"][f"{more} - {less}"] = {"mean": mean(sums), "interval": interval(sums)}
    for number, same in enumerate(zip(*(r.weeks for r in replays), strict=True)):
        week: dict[str, Any] = {"week": number + 1, "events": same[0].events}
        week["users"] = len(same[0].recalls[arms[0]])
        for arm in arms:
            week[arm] = float(np.mean([[*w.recalls[arm].values()] for w in same]))
        week["refused"] = sorted(name for w in same for name in w.refused)
        found["weeks"].append(week)
    return found


def _seeds(count: int) -> str:
    return f"{count} seeds (mean ± sd)." if count > 1 else "one seed."


def _cell(of: dict[str, Any]) -> str:
    spread = f" ± {np.std(of['by_seed'], ddof=1):.4f}" if len(of["by_seed"]) > 1 else ""
    return f"{of['mean']:.4f}{spread}"


def markdown(found: dict[str, Any], figure: str) -> str:
    """Page with a table of means, the differences and the figure.

    Args:
        found: see `results`; with data, command, hardware and versions.
        figure: file name of the figure.
    """
    arms = list(found["means"])
    n_seeds = len(found["means"][arms[0]]["all"]["by_seed"])
    lines = [
        f"# Replay: {found['data']}",
        "",
        "recall@20 of the users' interactions in the next week, by service (described in",
        f"`benchmarks/quality/replay.py`); {len(found['weeks'])} weeks after the first {SHARE:.0%} "
        f"of the log, " + _seeds(n_seeds),
        "",
        "| | all | known at the first fit | new since then |",
        "|---|---|---|---|",
    ]
    for arm in arms:
        cells = [found["means"][arm][group] for group in GROUPS]
        lines.append(f"| {arm} | {' | '.join(map(_cell, cells))} |")
    for name, counts in (("users", "users"), ("users × weeks", "asked")):
        lines.append(f"| {name} | {' | '.join(str(found[counts][g]) for g in GROUPS)} |")
    lines += ["", "Differences, with 95 % intervals (bootstrap over users):", ""]
    for name, gain in found["differences"].items():
        low, high = gain["interval"]
        lines.append(f"- {name}: {gain['mean']:+.4f} ({low:+.4f} … {high:+.4f})")
    for name in ("refresh", "refit"):
        refused = sum(week["refused"].count(name) for week in found["weeks"])
        if refused:
            bundles = n_seeds * len(found["weeks"])
            lines.append(f"- the gate refused {refused} of {bundles} bundles of {name}")
    made_by = ", ".join(f"{name} {of}" for name, of in found["versions"].items())
    lines += ["", f"![recall@20 by week]({figure})", "", f"`{found['command']}`", ""]
    return "\n".join([*lines, f"{found['hardware']}; {made_by}"]) + "\n"


def draw(found: dict[str, Any], file: Path) -> None:
    """Recall@20 by week for each service, as SVG."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.add_subplot()
    for arm in found["means"]:
        means = [week[arm] for week in found["weeks"]]
        axes.plot(range(1, len(means) + 1), means, marker="o", label=arm)
    axes.set(xlabel="week", ylabel=f"recall@{K} of the next week", ylim=(0, None))
    axes.legend()
    with mpl.rc_context({"svg.hashsalt": "drepmrec"}):  # equal figures are equal files
        figure.savefig(file, format="svg", metadata={"Date": None})
