"""The gate: what is worse is not published, what is as good is, and a reason is kept."""

import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from happenings import Happenings, event
from tastes import GROUPS, PER_GROUP, USERS, held_out, taste_contents
from training_command import training

from bundle.contents import BundleContents
from bundle.csr import Csr
from bundle.errors import GateError
from bundle.loading import Bundle
from bundle.manifest import Verdict
from bundle.store import BundleStore
from training.gate import FEWEST, compare
from training.heldout import HeldOut, rank, rank_popular
from training.judge import Judge


def published(root: Path, contents: BundleContents) -> Bundle:
    store = BundleStore(root)
    store.publish(contents)
    return store.load()


@pytest.fixture
def good() -> BundleContents:
    return taste_contents(np.random.default_rng(0))


@pytest.fixture
def live(tmp_path: Path, good: BundleContents) -> Bundle:
    return published(tmp_path / "live", good)


def test_a_bundle_is_as_good_as_itself(live, good):
    found = compare(live, live, held_out(good))
    assert found.problems == []
    assert found.users == USERS
    assert found.candidate.metrics == found.live.metrics
    # Six items of the group are left, two of them right, all with the same score: none is sure.
    assert found.candidate.metrics["recall@20"] == 1
    assert found.gains["recall@20"] == (0, 0, 0)
    assert found.verdict("no need") == Verdict(passed=True)


def test_a_worse_bundle_is_refused_and_says_by_how_much(live, tmp_path, good):
    bad = published(tmp_path / "bad", taste_contents(np.random.default_rng(1), noise=3.0))
    found = compare(bad, live, held_out(good))
    assert any("recall@20 is" in problem for problem in found.problems)
    assert any("ndcg@20 is" in problem for problem in found.problems)
    with pytest.raises(GateError, match=r"recall@20 is 0\.\d+, the live bundle's 1\.0000"):
        found.verdict(None)
    forced = found.verdict("the old items are gone")
    assert forced.forced == "the old items are gone"
    assert not forced.passed
    better = compare(live, bad, held_out(good))
    assert better.problems == []


def test_a_difference_within_chance_is_no_reason(live, tmp_path, good):
    """Noise that swaps a few items at the end of the list for a few users."""
    noisy = published(tmp_path / "noisy", taste_contents(np.random.default_rng(2), noise=0.15))
    found = compare(noisy, live, held_out(good))
    assert found.gains["recall@20"][1] <= 0 <= found.gains["recall@20"][2]
    assert found.problems == []


def test_a_few_users_decide_nothing(live, tmp_path, good):
    bad = published(tmp_path / "bad", taste_contents(np.random.default_rng(1), noise=3.0))
    found = compare(bad, live, held_out(good, FEWEST - 1))
    assert found.users == FEWEST - 1
    assert found.problems == []


def test_what_the_live_bundle_was_made_from_judges_nobody(live, good):
    rows, cols = good.seen.pairs()
    known = HeldOut(
        good.users.ids,
        good.items,
        good.seen,
        np.ones(good.seen.nnz, np.float32),
        Csr.from_pairs(rows, cols, USERS, len(good.items)),
    )
    assert compare(live, live, known).users == 0


def test_a_bundle_that_recommends_the_same_to_all_is_refused(tmp_path, good):
    """Everybody gets one group: recall falls, and so does the part of the catalogue shown."""
    live = published(tmp_path / "live", good)
    same = np.tile(good.user_vectors[:1], (USERS, 1))
    candidate = published(tmp_path / "same", replace(good, user_vectors=same))
    found = compare(candidate, live, held_out(good))
    assert any("coverage@20 is" in problem for problem in found.problems)


def test_rows_that_were_made_from_the_held_out_items_are_not_asked(tmp_path, good):
    """The candidate's rows point at the held-out items; judged is what the rest makes of users."""
    told = held_out(good)
    knows = good.item_vectors.copy()
    rng = np.random.default_rng(3)
    knows[:] = rng.standard_normal(knows.shape)
    rows, cols = told.relevant.pairs()
    users = np.zeros_like(good.user_vectors)
    np.add.at(users, rows, knows[cols])
    pairs = [np.concatenate(x) for x in zip(good.seen.pairs(), (rows, cols), strict=True)]
    cheat = replace(
        good,
        item_vectors=knows,
        item_parts=knows,
        user_vectors=users,
        seen=Csr.from_pairs(*pairs, USERS, len(good.items)),
    )
    candidate = published(tmp_path / "cheat", cheat)
    honest = rank(candidate, told)
    assert not np.allclose(honest.vectors, users)
    assert honest.metrics["recall@20"] < 0.5
    assert rank_popular(candidate, told).metrics == pytest.approx(
        rank_popular(published(tmp_path / "live", good), told).metrics
    ), "popularity does not know them either"


def test_onnx_that_differs_from_torch_is_refused(live, good):
    found = compare(live, live, held_out(good), onnx={"item_encoder": 1e-5, "user_encoder": 0.2})
    assert found.problems == ["user_encoder.onnx differs from torch by 0.2"]


def test_a_refused_candidate_leaves_the_store_as_it_was(tmp_path, good):
    store = BundleStore(tmp_path / "store")
    version = store.publish(good)
    live = store.load()
    bad = replace(taste_contents(np.random.default_rng(1), noise=3.0), parent_version=version)
    with pytest.raises(GateError) as refused:
        store.publish(bad, Judge(store, live, held_out(good), {}))
    assert refused.value.exit_code == 3
    assert store.current() == version
    assert [p.name for p in (store.root / "bundles").iterdir()] == [version]
    judge = Judge(store, live, held_out(good), {}, forced="we know")
    forced = store.publish(bad, judge)
    assert store.load().version == forced == store.current()
    assert store.manifest(forced).gate.forced == "we know"
    assert judge.report().comparison.problems == store.manifest(forced).gate.problems


@pytest.fixture
def busy_store(tmp_path: Path, good: BundleContents) -> BundleStore:
    """A live bundle, and what users did next in the state."""
    store = BundleStore(tmp_path / "store")
    store.publish(good)
    Happenings(store.root).events(
        [
            event(f"user-{u}", f"item-{(u % GROUPS) * PER_GROUP + 4 + n}", at=n)
            for n in range(4)
            for u in range(USERS)
        ]
    )
    return store


def test_the_command_compares_publishes_and_finds_nothing_new(busy_store):
    store = busy_store.root
    said = training("refresh", "--store", store, "--dry-run").stdout
    assert "candidate" in said and "published" not in said
    assert len(busy_store.versions()) == 1
    assert "published" in training("refresh", "--store", store).stdout
    assert busy_store.manifest(busy_store.current()).gate == Verdict(passed=True)
    assert training("refresh", "--store", store).stdout == "nothing new\n"


def loud_items(folder: Path) -> Path:
    """New items with features out of all proportion, which would be on top for everybody."""
    folder.mkdir()
    names = [f"loud-{n}" for n in range(60)]
    (folder / "items.csv").write_text("item_id,title\n" + "".join(f"{n},Loud\n" for n in names))
    rng = np.random.default_rng(0)
    np.save(folder / "image_feat.npy", 1e3 * rng.standard_normal((60, 6)).astype(np.float32))
    return folder


def test_the_command_refuses_with_its_own_exit_code(busy_store, tmp_path):
    store, items = busy_store.root, loud_items(tmp_path / "items")
    before = busy_store.current()
    done = training("refresh", "--store", store, "--items", items, code=3)
    assert "error: the candidate is worse than the live bundle: recall@20 is" in done.stderr
    assert busy_store.current() == before
    assert busy_store.versions() == [before]
    assert [p.name[:7] for p in (store / "reports").iterdir()] == ["refused"] * 2
    training("refresh", "--store", store, "--items", items, "--force", "the shop wants it")
    verdict = busy_store.manifest(busy_store.current()).gate
    assert not verdict.passed
    assert verdict.forced == "the shop wants it"


def test_a_loop_survives_failures_and_ends_with_their_exit_code(busy_store, tmp_path):
    store, drops = busy_store.root, tmp_path / "drops"
    drops.mkdir()
    (drops / "a.csv").write_text("user_id,item_id\nann,\n")
    log = tmp_path / "log"
    command = [sys.executable, "-m", "training", "refresh", "--store", str(store)]
    with log.open("w") as out:
        process = subprocess.Popen(
            [*command, "--every", "1", "--events", str(drops)],
            stdout=out,
            stderr=subprocess.STDOUT,
        )

    def said(text: str) -> None:
        end = time.monotonic() + 60
        while text not in log.read_text():
            assert process.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.05)

    try:
        said("the id is empty; again in 1 s")
        said("again in 2 s")
        (drops / "a.csv").write_text("user_id,item_id\nann,item-1\n")
        said("published")
        assert busy_store.load().users.get("ann") is not None
        (drops / "b.csv").write_text("user_id\nann\n")
        said("column 'item_id': is missing")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 2
    finally:
        process.kill()
        process.wait()
