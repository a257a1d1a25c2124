"""Arms, exposures, the shadow, live recall."""

import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_builders import make_contents
from conftest import Published, StartService
from servers import clean_environment, command, wait_until

from bundle.errors import InputError
from bundle.store import BundleStore
from service.experiments import Experiment, read_experiment


def write(path: Path, arms: list[dict[str, Any]], **more: Any) -> Path:
    path.write_text(json.dumps({"name": "test", "arms": arms, **more}))
    return path


@pytest.fixture
def two_bundles(tmp_path: Path) -> tuple[Published, Published]:
    """An older and the live bundle of one store."""
    store = tmp_path / "own-store"
    both = []
    for seed in (1, 2):
        contents = make_contents(300, 250, 16, rng=np.random.default_rng(seed))
        both.append(Published(store, contents, BundleStore(store).publish(contents)))
    return both[0], both[1]


def test_arms_have_their_options_and_bundles(
    start: StartService, two_bundles: tuple[Published, Published], tmp_path: Path
) -> None:
    old, live = two_bundles
    arms = [
        {"name": "diverse", "share": 0.3, "options": {"diversity": 0.9}},
        {"name": "old", "share": 0.3, "bundle_version": old.version},
    ]
    service = start(store=live.store, experiment=write(tmp_path / "arms.json", arms))
    counts: Counter[str] = Counter()
    for user_id in live.known:
        answer = service.get(f"/recommend/{user_id}").json()
        arm = answer["experiment"] and answer["experiment"]["arm"]
        counts[str(arm)] += 1
        assert answer["bundle_version"] == (old if arm == "old" else live).version
        if arm == "diverse":
            same = service.get(f"/recommend/{user_id}", diversity=0.9).json()["items"]
            assert answer["items"] == same
            # What the request says itself wins.
            live.check(service.get(f"/recommend/{user_id}", diversity=0).json())
        elif arm is None or user_id in old.known:
            (old if arm == "old" else live).check(answer)
    assert 60 < counts["diverse"] < 120 and 60 < counts["old"] < 120 and 80 < counts["None"] < 140
    exposed = service.metric("experiment_exposures_total", experiment="test", arm="old")
    assert exposed == counts["old"]
    users = [f"user-{n}" for n in range(30)]
    for answer in service.post("/recommend", json={"users": users}).json()["results"]:
        one = service.get(f"/recommend/{answer['user_id']}").json()
        assert answer["experiment"] == one["experiment"]
        assert [i["item_id"] for i in answer["items"]] == [i["item_id"] for i in one["items"]]


def test_an_arm_is_the_same_everywhere_and_shares_hold() -> None:
    arms = [{"name": "a", "share": 0.2}, {"name": "b", "share": 0.5}]
    one, other = (Experiment.model_validate({"name": n, "arms": arms}) for n in ("one", "other"))
    named = [one.arm(f"u{n}") for n in range(20_000)]
    counts = Counter(arm.name if arm else None for arm in named)
    assert abs(counts["a"] / 20_000 - 0.2) < 0.015 and abs(counts["b"] / 20_000 - 0.5) < 0.015
    again = Experiment.model_validate({"name": "one", "arms": arms})
    assert all(again.arm(f"u{n}") == named[n] for n in range(500))
    # Two experiments do not go together.
    both = sum(
        arm is not None and arm.name == "b" and getattr(other.arm(f"u{n}"), "name", "") == "b"
        for n, arm in enumerate(named)
    )
    assert abs(both / 20_000 - 0.25) < 0.015


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        ([], "arms"),
        ([{"name": "a", "share": 0.6}, {"name": "b", "share": 0.6}], "more than 1"),
        ([{"name": "a", "share": 0.1}, {"name": "a", "share": 0.1}], "twice"),
        ([{"name": "a", "share": 0}], "arms.0.share"),
        ([{"name": "a b", "share": 0.1}], "arms.0.name"),
        ([{"name": "a", "share": 0.1, "options": {"k": 5}}], "arms.0.options.k"),
        ([{"name": "a", "share": 0.1, "options": {"diversity": 2}}], "diversity"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused(
    tmp_path: Path, arms: list[dict[str, Any]], message: str
) -> None:
    path = write(tmp_path / "arms.json", arms)
    with pytest.raises(InputError, match=message) as caught:
        read_experiment(path)
    assert str(path) in str(caught.value)


def test_the_service_does_not_start_with_an_arm_without_bundle(
    published: Published, tmp_path: Path
) -> None:
    arms = [{"name": "a", "share": 0.1, "bundle_version": "20200101T000000Z-00000000"}]
    path = write(tmp_path / "arms.json", arms)
    options = ("--store", str(published.store), "--port", "0", "--experiment", str(path))
    done = subprocess.run(
        command(*options), capture_output=True, text=True, check=False, env=clean_environment()
    )
    assert done.returncode == 1
    assert "20200101T000000Z-00000000" in done.stderr and "Traceback" not in done.stderr


def test_events_keep_the_arm(start: StartService, redis_server: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "arms.json", [{"name": "all", "share": 1.0}])
    service = start(redis_url=redis_server.url, redis_timeout=2, experiment=path)
    service.post("/events", json={"events": [{"user_id": "u", "item_id": "item-1"}]})
    (log,) = redis_server.client.keys("*:log")
    ((_, fields),) = redis_server.client.xrange(log)
    assert fields[b"arm"] == b"test/all"


def test_the_shadow_is_compared_and_changes_nothing(
    start: StartService, two_bundles: tuple[Published, Published]
) -> None:
    old, live = two_bundles
    service = start(store=live.store, shadow_version=old.version, shadow_share=1.0)
    for user_id in live.known[:50]:
        live.check(service.get(f"/recommend/{user_id}").json())
    wait_until(lambda: service.metric("shadow_overlap_count") >= 45, "the shadow's answers")
    mean = service.metric("shadow_overlap_sum") / service.metric("shadow_overlap_count")
    assert 0 < mean < 0.5  # two random bundles: 20 of 250 items
    same = start(store=live.store, shadow_version=live.version, shadow_share=1.0)
    for user_id in live.known[:20]:
        same.get(f"/recommend/{user_id}")

    def all_the_same() -> bool:
        """Between two looks one more answer may come."""
        count = same.metric("shadow_overlap_count")
        return count >= 18 and same.metric("shadow_overlap_sum") == count

    wait_until(all_the_same, "the shadow's answers, all the same")
    assert same.metric("shadow_failures_total") == 0


def test_live_recall_of_an_index(
    start: StartService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bundle.index.EXACT_BELOW", 1000)
    contents = make_contents(200, 3000, 16, rng=np.random.default_rng(0))
    BundleStore(tmp_path).publish(contents)
    service = start(store=tmp_path, recall_share=1.0)
    for user in range(100):
        service.get(f"/recommend/user-{user}")
    wait_until(lambda: service.metric("live_recall_samples_total") >= 5, "samples")
    assert 0.9 < service.metric("live_recall") <= 1.0
    assert start().metric("live_recall_samples_total") == 0  # exact search needs none
