"""`experiment report` on a replayed log whose effects are planted, from every state."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from time import time
from typing import Any

import numpy as np
import pytest

from bundle.events.outcomes import DAY, Impression, Retention, item_digests
from bundle.events.records import Event
from bundle.search.experiment import Experiment
from service.state.base import State
from tests.support.cli import training
from tests.support.running.states import StateBackend, run, sqlite_backend

pytestmark = pytest.mark.slow

TEST = Experiment.model_validate(
    {"name": "test", "arms": [{"name": "control", "share": 0.5}, {"name": "new", "share": 0.4}]}
)
TODAY = int(time() // DAY)
NOW = TODAY * DAY + 3600.0
"""In the second of the two days of the log; what is much older would expire."""
DAYS = [str(np.datetime64(day, "D")) for day in (TODAY - 1, TODAY)]
RETENTION = Retention(window=3600, results=365 * DAY)
ITEMS = [f"item-{n}" for n in range(20)]


def replay(
    rng: np.random.Generator, n_users: int, effect: float = 0.0, lost: float = 0.0
) -> tuple[list[Impression], list[Event]]:
    """Answers and the events that follow some of them.

    Args:
        rng: for everything.
        n_users: number of users.
        effect: relative effect of the new arm on views; purchases have none.
        lost: fraction of the users of the new arm who are never shown anything.
    """
    impressions, events = [], []
    for n in range(n_users):
        user, inclination = f"user-{n}", rng.beta(2, 6)
        arm = TEST.arm(user)
        is_new = arm is not None and arm.name == "new"
        if is_new and rng.random() < lost:
            continue
        for at in np.sort(NOW - rng.uniform(0, DAY, rng.integers(1, 6))).tolist():
            label = arm.label if arm else None
            digests = item_digests(ITEMS)
            impressions.append(Impression(user, at, label, "v1", "known_user", 1, digests))
            followed = {"view": inclination * (1 + effect * is_new), "purchase": 0.1}
            for kind, chance in followed.items():
                if rng.random() < chance:
                    item = ITEMS[rng.integers(len(ITEMS))]
                    events.append(Event(user, item, kind, at + rng.uniform(0, 3000), 1.0))
            events.append(Event(user, "another-item", "view", at + 1, 1.0))
    return impressions, events


def write(backend: StateBackend, impressions: list[Impression], events: list[Event]) -> None:
    """Write a log as a service does, answer by answer."""

    async def test(state: State, _: State) -> None:
        for start in range(0, len(impressions), 1000):
            await state.add_impressions(impressions[start : start + 1000], RETENTION)
        for start in range(0, len(events), 1000):
            await state.add_outcomes(events[start : start + 1000], RETENTION)

    run(backend, test)


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    path = tmp_path / "experiment.json"
    path.write_text(TEST.model_dump_json())
    return path


def where(backend: StateBackend) -> list[str]:
    """Options that name the state."""
    settings = backend.settings
    if settings.redis_url is None:
        return ["--state", str(settings.state)]
    url = ["--redis-url", settings.redis_url.get_secret_value()]
    cluster = ["--redis-cluster"] if settings.redis_cluster else []
    return [*url, "--redis-namespace", settings.redis_namespace, *cluster]


def report(
    backend: StateBackend, experiment: Path, *options: str | Path, code: int = 0
) -> dict[str, Any]:
    store = experiment.parent / "store"
    store.mkdir(exist_ok=True)
    named = ("--store", store, "--experiment", experiment, "--json", *where(backend), *options)
    done = training("experiment", "report", *named, code=code)
    found: dict[str, Any] = json.loads(done.stdout) if code == 0 else {"error": done.stderr}
    return found


def test_a_planted_effect_is_found_in_every_state(backend: StateBackend, experiment: Path) -> None:
    rng = np.random.default_rng(0)
    impressions, events = replay(rng, 2500, effect=0.5)
    write(backend, impressions, events)
    found = report(backend, experiment)
    control, new = found["arms"]
    labels = [one.arm for one in impressions]
    for arm in (control, new):
        mine = [one for one in impressions if one.arm == f"test/{arm['arm']}"]
        assert arm["impressions"] == len(mine)
        assert arm["users"] == len({one.user_id for one in mine})
    assert labels.count(None) > 0
    assert found["share_p"] > 0.001 and not found["share_mismatch"]
    assert (found["control"], control["outcomes"][0]["p"]) == ("control", None)
    purchase, view = new["outcomes"]
    assert (purchase["type"], view["type"]) == ("purchase", "view")
    assert view["p"] < 0.001 and view["lift_low"] < 0.5 < view["lift_high"]
    assert purchase["p"] > 0.05
    assert "Fixed horizon" in found["horizon"]
    # One day of two.
    days = [report(backend, experiment, "--since", day, "--until", day) for day in DAYS]
    for at, whole in enumerate(found["arms"]):
        parts = [day["arms"][at]["impressions"] for day in days]
        assert min(parts) > 0 and sum(parts) == whole["impressions"]


def test_no_effect_is_none_and_lost_users_are_a_mismatch(tmp_path: Path, experiment: Path) -> None:
    rng = np.random.default_rng(1)
    same, fewer = sqlite_backend(tmp_path / "same"), sqlite_backend(tmp_path / "fewer")
    write(same, *replay(rng, 2500))
    found = report(same, experiment)
    assert all(outcome["p"] > 0.05 for outcome in found["arms"][1]["outcomes"])
    assert not found["share_mismatch"]
    swapped = report(same, experiment, "--control", "new")
    assert swapped["arms"][0]["outcomes"][1]["p"] == found["arms"][1]["outcomes"][1]["p"]
    write(fewer, *replay(rng, 2500, lost=0.3))
    assert report(fewer, experiment)["share_mismatch"]
    options = ("--store", tmp_path / "fewer", "--experiment", experiment)
    text = training("experiment", "report", *options).stdout
    assert "SAMPLE RATIO MISMATCH" in text and "Fixed horizon" in text


def test_users_in_several_arms_and_arms_of_the_past_are_left_out_and_named(
    tmp_path: Path, experiment: Path
) -> None:
    digests = item_digests(ITEMS)
    labels = {"a": ["control"], "b": ["new", "control"], "c": ["gone"], "d": ["new"]}
    impressions = [
        Impression(user, NOW, f"test/{arm}", "v1", "popular", 1, digests)
        for user, arms in labels.items()
        for arm in arms
    ]
    impressions.append(Impression("e", NOW, "test2/new", "v1", "popular", 1, digests))
    backend = sqlite_backend(tmp_path)
    write(backend, impressions, [])
    options = ("--store", tmp_path, "--experiment", experiment)
    text = training("experiment", "report", *options).stdout
    assert "1 users in several arms" in text and "does not have, gone" in text
    assert [arm["users"] for arm in report(backend, experiment)["arms"]] == [1, 1]


def test_mistakes_are_named(tmp_path: Path, experiment: Path) -> None:
    backend = sqlite_backend(tmp_path)
    write(backend, *replay(np.random.default_rng(0), 5))
    error = report(backend, experiment, "--control", "old", code=2)["error"]
    assert "--control old: the arms are control, new" in error
    days = ("--since", DAYS[1], "--until", DAYS[0])
    assert "--since is after --until" in report(backend, experiment, *days, code=2)["error"]
    error = report(backend, experiment, "--since", "2100-01-01", code=2)["error"]
    assert "no answer of the experiment 'test' is kept" in error and "--outcome-share" in error
    foreign = tmp_path / "foreign.sqlite3"
    with closing(sqlite3.connect(foreign)) as connection:
        connection.execute("CREATE TABLE notes (name TEXT)")
    options: tuple[str | Path, ...] = (
        *("--store", tmp_path, "--experiment", experiment, "--state", foreign),
    )
    error = training("experiment", "report", *options, code=1).stderr
    assert "foreign.sqlite3: is not the state of a service of this version" in error
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    options = ("--store", nothing, "--experiment", experiment)
    assert "has no state" in training("experiment", "report", *options, code=2).stderr
    options = ("--store", nothing, "--experiment", tmp_path / "missing.json")
    assert (
        "missing.json: cannot be read" in training("experiment", "report", *options, code=2).stderr
    )
