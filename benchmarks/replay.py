"""A log replayed in time order through running services: what a refresh is worth.

    python benchmarks/replay.py --data $DREPMREC_DATA/movielens-100k --out docs/results/NAME.json

A model is fitted on the first 60 % of the log. The rest is posted to `POST /events` day by day. At
the beginning of every week each service is asked for 20 items for everybody who did something
before and does something in that week; recall@20 is of what they do in it. The services:

    frozen    the first bundle, no events
    online    the first bundle and all events: users are folded in
    refresh   the same, and `python -m training refresh` after every week
    refit     the same, and `fit --warm-start` on all of the log after every week

Every interaction counts, whatever its rating. Items are described by their texts.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
from machine import hardware
from provenance import command, versions

from bundle.store import BundleStore

SHARE = 0.6
DAY, WEEK = 86_400.0, 7 * 86_400.0
K = 20
BATCH = 500
FIT = ("--set", "split.test_fraction=0", "--set", "split.valid_fraction=0.05", "--threads", "1")
ARMS = ("frozen", "online", "refresh", "refit")


class Click(NamedTuple):
    user: str
    item: str
    at: float


def read_log(folder: Path) -> list[Click]:
    """The log in time order, then in file order."""
    lines = next(folder.glob("*.inter")).read_text().splitlines()[1:]
    rows = (line.split("\t") for line in lines)
    clicks = [Click(user, item, float(at)) for user, item, _, at in rows]
    return sorted(clicks, key=lambda click: click.at)


def write_data(folder: Path, clicks: list[Click], items: Path) -> None:
    """A folder to fit on: interactions, the items and their texts' features."""
    folder.mkdir(exist_ok=True)
    rows = "".join(f"{c.user},{c.item},{c.at}\n" for c in clicks)
    (folder / "interactions.csv").write_text("user_id,item_id,timestamp\n" + rows)
    if not (folder / "items.jsonl").exists():
        shutil.copy(items, folder / "items.jsonl")
        training("features", folder, "--text", "title,text", "--threads", "1")


def training(*arguments: Any, codes: tuple[int, ...] = (0,)) -> str:
    """Run a command of the project to its end; what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "training", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in codes:
        raise SystemExit(done.stderr)
    return done.stdout + done.stderr


class Arm:
    """A service on a store of its own."""

    def __init__(self, name: str, store: Path) -> None:
        self.name, self.store = name, store
        options = ["--store", str(store), "--port", "0", "--threads", "1", "--reload-poll", "0.2"]
        self._log = store.with_suffix(".log")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "service", *options], stderr=log
            )
        while "port" not in (told := self._told("listening")):
            time.sleep(0.1)
            if self._process.poll() is not None:
                raise SystemExit(self._log.read_text())
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{told['port']}", timeout=60)
        self.swapped()

    def _told(self, event: str) -> dict[str, Any]:
        lines = self._log.read_text().splitlines()
        found = [json.loads(line) for line in lines if line.endswith("}")]
        return next((line for line in found if line["event"] == event), {})

    def swapped(self) -> None:
        """Wait until the live bundle is served."""
        version = BundleStore(self.store).current()
        while True:
            try:
                if self.client.get("/readyz").json().get("bundle_version") == version:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)

    def post(self, clicks: list[Click]) -> None:
        """Post events."""
        for start in range(0, len(clicks), BATCH):
            events = [
                {
                    "user_id": c.user,
                    "item_id": c.item,
                    "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(c.at)),
                }
                for c in clicks[start : start + BATCH]
            ]
            self.client.post("/events", json={"events": events}).raise_for_status()

    def recall(self, wanted: dict[str, set[str]]) -> dict[str, float]:
        """recall@20 of each user."""
        found = {}
        for user, items in wanted.items():
            answer = self.client.get(f"/recommend/{user}", params={"k": K}).raise_for_status()
            shown = {item["item_id"] for item in answer.json()["items"]}
            found[user] = len(shown & items) / len(items)
        return found

    def close(self) -> None:
        """End the service."""
        self.client.close()
        self._process.terminate()
        self._process.wait(30)


def replay(folder: Path, work: Path, most_weeks: int) -> list[dict[str, Any]]:
    """All weeks: how many users, and each service's recall, over users by when they came."""
    clicks = read_log(folder)
    cut = int(SHARE * len(clicks))
    write_data(work / "data", clicks[:cut], folder / "items.jsonl")
    training("fit", work / "data", "--store", work / "first", *FIT)
    arms = []
    for name in ARMS:
        shutil.copytree(work / "first", work / name)
        arms.append(Arm(name, work / name))
    trained = {click.user for click in clicks[:cut]}
    before = set(trained)
    first = clicks[cut].at
    weeks = []
    try:
        for number in range(most_weeks):
            start = first + number * WEEK
            coming = [c for c in clicks[cut:] if start <= c.at < start + WEEK]
            if not coming:
                break
            wanted: dict[str, set[str]] = defaultdict(set)
            for click in coming:
                if click.user in before:
                    wanted[click.user].add(click.item)
            week: dict[str, Any] = {"week": number + 1, "events": len(coming), "users": len(wanted)}
            for arm in arms:
                week[arm.name] = summary(arm.recall(wanted), trained)
            weeks.append(week)
            print(json.dumps(week), file=sys.stderr, flush=True)
            for day in range(7):
                today = [c for c in coming if start + day * DAY <= c.at < start + (day + 1) * DAY]
                for arm in arms[1:]:
                    arm.post(today)
            before |= {click.user for click in coming}
            until = [c for c in clicks if c.at < start + WEEK]
            write_data(work / "data", until, folder / "items.jsonl")
            training("refresh", "--store", work / "refresh")
            codes = (0, 3)
            said = training(
                "fit", work / "data", "--store", work / "refit", "--warm-start", *FIT, codes=codes
            )
            week["refit_refused"] = "error:" in said
            for arm in arms:
                arm.swapped()
    finally:
        for arm in arms:
            arm.close()
    return weeks


def summary(recalls: dict[str, float], trained: set[str]) -> dict[str, Any]:
    """Means over all users, over those of the training and over those who came since."""
    groups = {
        "all": list(recalls.values()),
        "trained": [r for user, r in recalls.items() if user in trained],
        "new": [r for user, r in recalls.items() if user not in trained],
    }
    return {
        name: {"users": len(values), "sum": float(np.sum(values))}
        for name, values in groups.items()
    }


def mean(weeks: list[dict[str, Any]], arm: str, group: str) -> tuple[float, int]:
    """Mean recall over users and weeks, and how many of both there were."""
    users = sum(week[arm][group]["users"] for week in weeks)
    return sum(week[arm][group]["sum"] for week in weeks) / max(users, 1), users


def write(weeks: list[dict[str, Any]], folder: Path, out: Path) -> None:
    """The numbers, a page with a table, and a plot."""
    from matplotlib.figure import Figure

    provenance = {"command": command(folder), "hardware": hardware(), "versions": versions()}
    out.write_text(json.dumps({"weeks": weeks, **provenance}, indent=1) + "\n")
    lines = [
        f"# Replay: {folder.name}",
        "",
        "recall@20 of what users do in the next week, by what the service has at its beginning",
        f"(`benchmarks/replay.py` says how); {len(weeks)} weeks after the first {SHARE:.0%} of the"
        " log.",
        "",
        "| | all | known at training | came since |",
        "|---|---|---|---|",
    ]
    for arm in ARMS:
        cells = [mean(weeks, arm, group) for group in ("all", "trained", "new")]
        lines.append(f"| {arm} | " + " | ".join(f"{m:.4f}" for m, _ in cells) + " |")
    counts = [mean(weeks, ARMS[0], group)[1] for group in ("all", "trained", "new")]
    lines.append("| users × weeks | " + " | ".join(map(str, counts)) + " |")
    lines += ["", f"![recall@20 by week]({out.stem}.svg)", "", f"`{provenance['command']}`", ""]
    made = ", ".join(f"{name} {of}" for name, of in provenance["versions"].items())
    lines.append(f"{provenance['hardware']}; {made}")
    out.with_suffix(".md").write_text("\n".join(lines) + "\n")
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.add_subplot()
    for arm in ARMS:
        means = [week[arm]["all"]["sum"] / max(week["users"], 1) for week in weeks]
        axes.plot([week["week"] for week in weeks], means, marker="o", label=arm)
    axes.set(xlabel="week", ylabel=f"recall@{K} of the next week", ylim=(0, None))
    axes.legend()
    figure.savefig(out.with_suffix(".svg"), metadata={"Date": None})


def main() -> None:
    """Replay and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with a .inter file")
    parser.add_argument("--out", type=Path, required=True, help="JSON; .md and .svg beside it")
    parser.add_argument("--weeks", type=int, default=100, help="at most")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        weeks = replay(options.data, Path(directory), options.weeks)
    write(weeks, options.data, options.out)


if __name__ == "__main__":
    main()
