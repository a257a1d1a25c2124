"""Experiments: arms, exposures, the shadow bundle, live recall."""

import json
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

from bundle.search.options import RankingOptions, search_options
from bundle.search.recommender import Recommender
from bundle.store.store import BundleStore
from bundle.types import NO_ITEMS
from tests.support.data.bundles import make_contents
from tests.support.data.item_changes import contents_with_columns
from tests.support.running.processes import run_service
from tests.support.running.servers import RunningRedis
from tests.support.running.service_fixtures import Published, StartService
from tests.support.waiting import wait_until


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


@pytest.mark.slow
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
            # An option of the request has precedence.
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


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"filter": "price < 60"},
        {"weights": "image:2.5,behaviour:0.5"},
        {"boost": ["0.3:price < 20", "-0.2:price >= 50"]},
        {"diversity": 0.4},
        {
            "diversity": 0.3,
            "weights": "text:0",
            "boost": ["0.2:price < 20"],
            "filter": "price < 60",
            "exclude_seen": False,
        },
    ],
    ids="+".join,
)
def test_an_arm_answers_as_it_does_offline(
    start: StartService, shop_store: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    arms = [{"name": "all", "share": 1, "options": options}]
    state = tmp_path / "state.sqlite3"  # other tests of the store have another one
    service = start(store=shop_store, state=state, experiment=write(tmp_path / "arms.json", arms))
    bundle = BundleStore(shop_store).load()
    recommender, offline = Recommender(bundle), RankingOptions(**options)
    known = np.flatnonzero(np.any(bundle.user_vectors, axis=1))
    assert len(known) > 20
    for row in known.tolist():
        answer = service.get(f"/recommend/{quote(bundle.users[row], safe='')}", k=7).json()
        seen = bundle.seen.row(row) if offline.exclude_seen else NO_ITEMS
        resolved = search_options(recommender.catalogue, offline, 7, seen)
        top = recommender.run(np.asarray(bundle.user_vectors[row]), resolved)
        assert answer["experiment"] == {"name": "test", "arm": "all"}
        ids = [recommender.catalogue.item_id(item) for item in top.item_idx.tolist()]
        assert [item["item_id"] for item in answer["items"]] == ids
        np.testing.assert_allclose(
            [item["score"] for item in answer["items"]], top.scores, atol=1e-6
        )


@pytest.mark.slow
def test_the_service_does_not_start_with_an_arm_without_bundle(
    published: Published, tmp_path: Path
) -> None:
    arms = [{"name": "a", "share": 0.1, "bundle_version": "20200101T000000Z-00000000"}]
    path = write(tmp_path / "arms.json", arms)
    options = ("--store", str(published.store), "--port", "0", "--experiment", str(path))
    code, output = run_service(*options)
    assert code == 1
    assert "20200101T000000Z-00000000" in output and "Traceback" not in output


@pytest.mark.slow
@pytest.mark.parametrize("version", ["live", "other"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"filter": "prize < 60"}, "filter: no column prize"),
        ({"filter": "price <"}, "filter: syntax error at the end"),
        ({"weights": "images:2"}, "weights: 'images:2' is not NAME:NUMBER"),
        ({"boost": ["0.1:price = true"]}, "boost: price must be compared with a number"),
    ],
)
def test_the_service_does_not_start_with_options_that_do_not_fit(
    shop_store: Path, tmp_path: Path, options: dict[str, Any], message: str, version: str
) -> None:
    store = shop_store
    arm = {"name": "typo", "share": 0.5, "options": options}
    if version == "other":
        store = tmp_path / "both"
        arm["bundle_version"] = BundleStore(store).publish(contents_with_columns())
        BundleStore(store).publish(make_contents(60, 40, 12, rng=np.random.default_rng(0)))
    path = write(tmp_path / "arms.json", [{"name": "control", "share": 0.5}, arm])
    code, output = run_service("--store", str(store), "--port", "0", "--experiment", str(path))
    assert code == 2
    assert f"{path}: arms.typo.options.{message}" in output and "Traceback" not in output


@pytest.mark.slow
def test_an_arm_that_does_not_fit_a_new_bundle_is_suspended(
    start: StartService, tmp_path: Path
) -> None:
    store = tmp_path / "own-store"
    first = BundleStore(store).publish(contents_with_columns())
    arms = [
        {"name": "cheap", "share": 0.5, "options": {"filter": "price < 20"}},
        {"name": "rest", "share": 0.5, "options": {"diversity": 0.2}},
    ]
    service = start(store=store, experiment=write(tmp_path / "arms.json", arms), reload_poll=0)
    users = [f"user-{n}" for n in range(40)]

    def arms_of() -> list[str | None]:
        answers = [service.get(f"/recommend/{user}") for user in users]
        assert {answer.status_code for answer in answers} == {200}
        alone = [answer.json()["experiment"] for answer in answers]
        together = service.post("/recommend", json={"users": users}).json()["results"]
        assert [answer["experiment"] for answer in together] == alone
        return [found and found["arm"] for found in alone]

    suspended = {"experiment": "test", "arm": "cheap"}
    before = arms_of()
    assert set(before) == {"cheap", "rest"}
    assert service.metric("experiment_arm_suspended", **suspended) == 0
    # The next bundle has no prices.
    BundleStore(store).publish(make_contents(60, 400, 12, rng=np.random.default_rng(0)))
    assert service.post("/admin/reload").json()["outcome"] == "swapped"
    assert arms_of() == [None if arm == "cheap" else arm for arm in before]
    assert service.metric("experiment_arm_suspended", **suspended) == 1
    (logged,) = service.events("arm_suspended")
    assert "arms.cheap.options.filter: no column price" in logged["reason"]
    BundleStore(store).rollback(first)
    assert service.post("/admin/reload").json()["outcome"] == "swapped"
    assert arms_of() == before
    assert service.metric("experiment_arm_suspended", **suspended) == 0


@pytest.mark.slow
def test_a_filter_that_only_the_live_bundle_knows_fails_alone_in_a_batch(
    start: StartService, tmp_path: Path
) -> None:
    store = tmp_path / "own-store"
    old = BundleStore(store).publish(make_contents(60, 40, 12, rng=np.random.default_rng(0)))
    BundleStore(store).publish(contents_with_columns())
    arms = [{"name": "old", "share": 0.5, "bundle_version": old}]
    service = start(store=store, experiment=write(tmp_path / "arms.json", arms))
    body = {"users": [f"user-{n}" for n in range(20)], "filter": "price < 20"}
    results = service.post("/recommend", json=body).json()["results"]
    refused = [result for result in results if "error" in result]
    assert 0 < len(refused) < 20
    assert {result["error"]["field"] for result in refused} == {"filter"}
    assert all(result["experiment"] is None for result in results if "error" not in result)


def test_events_keep_the_arm(
    start: StartService, redis_server: RunningRedis, tmp_path: Path
) -> None:
    path = write(tmp_path / "arms.json", [{"name": "all", "share": 1.0}])
    service = start(redis_url=redis_server.url, experiment=path)
    service.post("/events", json={"events": [{"user_id": "u", "item_id": "item-1"}]})
    client: Any = redis_server.client
    (log,) = client.keys("*:log")
    ((_, fields),) = client.xrange(log)
    assert fields[b"arm"] == b"test/all"


@pytest.mark.slow
def test_a_shadow_bundle_is_compared_and_changes_no_answer(
    start: StartService, two_bundles: tuple[Published, Published]
) -> None:
    old, live = two_bundles
    service = start(store=live.store, shadow_version=old.version, shadow_share=1.0)
    for user_id in live.known[:50]:
        live.check(service.get(f"/recommend/{user_id}").json())
    wait_until(lambda: service.metric("shadow_overlap_count") >= 45, "the shadow's answers")
    for name in ("search", "vector", "state"):  # the shadow's are not among them
        assert service.metric("stage_seconds_count", stage=name) == 50
    assert service.metric("vector_lookups_total") == 50
    service.get("/recommend/nobody")
    wait_until(lambda: service.metric("shadow_overlap_count") >= 46, "the shadow's fallback")
    assert service.metric("fallbacks_total") == 1
    mean = service.metric("shadow_overlap_sum") / service.metric("shadow_overlap_count")
    assert 0 < mean < 0.5  # two random bundles: 20 of 250 items
    same = start(store=live.store, shadow_version=live.version, shadow_share=1.0)
    for user_id in live.known[:20]:
        same.get(f"/recommend/{user_id}")

    def all_the_same() -> bool:
        """Another answer may come between reading two metrics."""
        count = same.metric("shadow_overlap_count")
        return count >= 18 and same.metric("shadow_overlap_sum") == count

    wait_until(all_the_same, "the shadow's answers, all the same")
    assert same.metric("shadow_failures_total") == 0


@pytest.mark.slow
def test_live_recall_of_an_index(
    start: StartService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bundle.format.index.EXACT_BELOW", 1000)
    contents = make_contents(200, 3000, 16, rng=np.random.default_rng(0))
    BundleStore(tmp_path).publish(contents)
    service = start(store=tmp_path, recall_share=1.0)
    for user in range(100):
        service.get(f"/recommend/user-{user}")
    wait_until(lambda: service.metric("live_recall_samples_total") >= 5, "samples")
    assert 0.9 < service.metric("live_recall") <= 1.0
    assert start().metric("live_recall_samples_total") == 0  # exact search takes no samples
