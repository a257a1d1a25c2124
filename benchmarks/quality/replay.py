"""Replay of a log in time order through running services: gains of events and refreshes.

    python -m benchmarks.quality.replay --data $DREPMREC_DATA/movielens-100k --name movielens-replay

A model is fitted on the first 60 % of the log. The rest is posted to `POST /events` day by day. At
the beginning of every week, each service is asked for 20 items for every user who was active before
and is active in that week. recall@20 is measured on the interactions of that week, which the
services do not know yet. The services:

    frozen    the first bundle, no events
    online    the first bundle and all events: users are folded in
    refresh   as online, and `python -m training refresh` after every week
    refit     as online, and `python -m training fit --warm-start` on the whole log after every week

All interactions count, whatever their rating. Items are described by their texts, and all of them
are in the catalogue from the beginning. A fit keeps the last 5 % of each user's log for early
stopping; these interactions are missing from its bundle, in all services alike. Everything is
repeated for each seed.
"""

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

from benchmarks.environment import argument_parser, command_line, hardware, versions
from benchmarks.quality.pages import add_options, write
from benchmarks.quality.replay_report import ARMS, SHARE, K, Replay, Week, results
from bundle.store.store import BundleStore

DAY, WEEK = 86_400.0, 7 * 86_400.0
"""Seconds."""
BATCH = 500
"""Events of one request."""
FIT = ("--set", "split.test_fraction=0", "--set", "split.valid_fraction=0.05", "--threads", "1")
REFUSED = 3
"""Exit code of `python -m training` where the gate refuses a bundle."""


class Click(NamedTuple):
    """An interaction; `at` in seconds since 1970."""

    user: str
    item: str
    at: float


def read_log(folder: Path) -> list[Click]:
    """Interactions of a .inter file in time order; equal times in file order."""
    lines = next(folder.glob("*.inter")).read_text().splitlines()[1:]
    rows = (line.split("\t") for line in lines)
    clicks = [Click(user, item, float(at)) for user, item, _, at in rows]
    return sorted(clicks, key=lambda click: click.at)


def write_data(folder: Path, clicks: list[Click], items: Path) -> None:
    """Write a folder to fit on: interactions, items and features of the items' texts."""
    folder.mkdir(exist_ok=True)
    rows = "".join(f"{c.user},{c.item},{c.at}\n" for c in clicks)
    (folder / "interactions.csv").write_text("user_id,item_id,timestamp\n" + rows)
    if not (folder / "items.jsonl").exists():
        shutil.copy(items, folder / "items.jsonl")
        training("features", folder, "--text", "title,text", "--threads", "1")


def training(*arguments: Any) -> int:
    """Exit code of a command of `python -m training`, 0 or REFUSED."""
    done = subprocess.run(
        [sys.executable, "-m", "training", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, REFUSED):
        raise SystemExit(done.stderr)
    return done.returncode


class Arm:
    """A running service on a store of its own."""

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
        self.wait_for_live()

    def _told(self, event: str) -> dict[str, Any]:
        lines = self._log.read_text().splitlines()
        found = [json.loads(line) for line in lines if line.endswith("}")]
        return next((line for line in found if line["event"] == event), {})

    def wait_for_live(self) -> None:
        """Wait until the service has loaded the store's live bundle."""
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
        """Recall@20 of each user.

        Args:
            wanted: by user, the items of the coming week.
        """
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


def replay(folder: Path, work: Path, seed: int, most_weeks: int, names: list[str]) -> Replay:
    """All weeks with one seed; features of the items are made once, in the folder `work`."""
    clicks = read_log(folder)
    cut = int(SHARE * len(clicks))
    data, stores = work / "data", work / f"seed-{seed}"
    stores.mkdir()
    fit = ("fit", data, *FIT, "--seed", seed)
    write_data(data, clicks[:cut], folder / "items.jsonl")
    training(*fit, "--store", stores / "first")
    arms = []
    for name in names:
        shutil.copytree(stores / "first", stores / name)
        arms.append(Arm(name, stores / name))
    trained = {click.user for click in clicks[:cut]}
    before = set(trained)
    first = clicks[cut].at
    weeks: list[Week] = []
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
            recalls = {arm.name: arm.recall(wanted) for arm in arms}
            for day in range(7):
                today = [c for c in coming if start + day * DAY <= c.at < start + (day + 1) * DAY]
                for arm in arms:
                    if arm.name != "frozen":
                        arm.post(today)
            before |= {click.user for click in coming}
            until = [c for c in clicks if c.at < start + WEEK]
            if "refit" in names:
                write_data(data, until, folder / "items.jsonl")
            steps = {
                "refresh": ("refresh", "--store", stores / "refresh"),
                "refit": (*fit, "--store", stores / "refit", "--warm-start"),
            }
            refused = [
                name for name, step in steps.items() if name in names and training(*step) == REFUSED
            ]
            for arm in arms:
                arm.wait_for_live()
            weeks.append(Week(len(coming), recalls, refused))
            means = {name: f"{np.mean([*r.values()]):.4f}" for name, r in recalls.items()}
            print(seed, number + 1, len(coming), len(wanted), means, refused, file=sys.stderr)
    finally:
        for arm in arms:
            arm.close()
    return Replay(weeks, trained)


def main() -> None:
    """Replay and write the page after each seed."""
    parser = argument_parser(__doc__)
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder with a .inter file and items.jsonl")
    add_options(parser)
    add("--weeks", type=int, default=100, help="maximum number of weeks [100]")
    add("--services", nargs="+", choices=ARMS, default=ARMS, help="services to run [all]")
    add("--seeds", type=int, nargs="+", default=[0], help="seeds of the fits [0]")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        replays: list[Replay] = []
        for seed in options.seeds:
            replays.append(replay(options.data, work, seed, options.weeks, options.services))
            found = {
                "kind": "replay",
                "data": options.data.resolve().name,
                **results(replays),
                "command": command_line(options.data),
                "hardware": hardware(),
                "versions": versions(),
            }
            write(found, options)


if __name__ == "__main__":
    main()
