"""What `replay.py` publishes: means, their uncertainty, a page and a plot."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from machine import hardware
from matplotlib.figure import Figure
from numpy.typing import NDArray
from provenance import command, versions

SHARE = 0.6
"""Of the log, that the first model is fitted on."""
K = 20
ARMS = ("frozen", "online", "refresh", "refit")
STEPS = (("frozen", "online"), ("online", "refresh"), ("refresh", "refit"))
"""Of which services the difference is published."""
GROUPS = ("all", "trained", "new")
"""Users: all, known at the first fit, who came since."""
RESAMPLES = 10_000
Sums = NDArray[np.float64]


class Week(NamedTuple):
    """A week that was asked for.

    Attributes:
        events: what happened in it.
        recalls: by service, recall@20 by user.
        refused: services whose next bundle the gate refused at its end.
    """

    events: int
    recalls: dict[str, dict[str, float]]
    refused: list[str]


class Replay(NamedTuple):
    """All weeks with one seed, and the users who were known at the first fit."""

    weeks: list[Week]
    trained: set[str]


def by_user(replays: list[Replay], group: str, arm: str, less: str | None = None) -> Sums:
    """Sums of a service's recall over weeks and seeds, and over how many, by user of a group.

    Args:
        replays: one for each seed.
        group: one of GROUPS.
        arm: the service.
        less: another one, whose recall is taken off.

    Returns:
        [U, 2]; a user's weeks belong together when users are resampled.
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
    """Over users and weeks."""
    total, count = sums.sum(0)
    return float(total / count)


def interval(sums: Sums) -> tuple[float, float]:
    """95 % of such means, if other users had come."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(sums), size=(RESAMPLES, len(sums)))
    total, count = sums[drawn].sum(1).T
    low, high = np.quantile(total / count, [0.025, 0.975])
    return float(low), float(high)


def results(replays: list[Replay]) -> dict[str, Any]:
    """What is published: means by service and group, their differences, and means by week."""
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


def write(found: dict[str, Any], folder: Path, out: Path) -> None:
    """The numbers, a page with a table, and a plot."""
    provenance = {"command": command(folder), "hardware": hardware(), "versions": versions()}
    out.write_text(json.dumps({**found, **provenance}, indent=1) + "\n")
    arms = list(found["means"])
    n_seeds = len(found["means"][arms[0]]["all"]["by_seed"])
    lines = [
        f"# Replay: {folder.name}",
        "",
        "recall@20 of what users do in the next week, by what the service has at its beginning",
        f"(`benchmarks/replay.py` says how); {len(found['weeks'])} weeks after the first"
        f" {SHARE:.0%} of the log, " + _seeds(n_seeds),
        "",
        "| | all | known at training | came since |",
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
            all_of_them = n_seeds * len(found["weeks"])
            lines.append(f"- the gate refused {refused} of {all_of_them} bundles of {name}")
    lines += ["", f"![recall@20 by week]({out.stem}.svg)", "", f"`{provenance['command']}`", ""]
    made = ", ".join(f"{name} {of}" for name, of in provenance["versions"].items())
    lines.append(f"{provenance['hardware']}; {made}")
    out.with_suffix(".md").write_text("\n".join(lines) + "\n")
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.add_subplot()
    for arm in arms:
        means = [week[arm] for week in found["weeks"]]
        axes.plot(range(1, len(means) + 1), means, marker="o", label=arm)
    axes.set(xlabel="week", ylabel=f"recall@{K} of the next week", ylim=(0, None))
    axes.legend()
    figure.savefig(out.with_suffix(".svg"), metadata={"Date": None})
