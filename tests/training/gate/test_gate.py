"""The gate: a worse bundle is not published, an equal one is, a forced one keeps its reason."""

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bundle.csr import Csr
from bundle.errors import GateError
from bundle.format.manifest import Verdict
from bundle.format.reach import Reach
from bundle.format.reader import Bundle
from bundle.format.writer import BundleContents
from bundle.search.options import OptionError, RankingOptions
from bundle.store.store import BundleStore
from tests.support.cli import training
from tests.support.data.bundles import make_contents
from tests.support.data.event_logs import StateWriter, event
from tests.support.data.planted_groups import GROUPS, PER_GROUP, USERS, held_out, planted_contents
from tests.support.waiting import DEADLINE, wait_until
from training.evaluation.heldout import HeldOut, rank, rank_popular
from training.gate.gate import MIN_USERS, compare
from training.gate.publish import PublicationGate


def published(root: Path, contents: BundleContents) -> Bundle:
    store = BundleStore(root)
    store.publish(contents)
    return store.load()


@pytest.fixture
def contents() -> BundleContents:
    return planted_contents(np.random.default_rng(0))


@pytest.fixture
def live(tmp_path: Path, contents: BundleContents) -> Bundle:
    return published(tmp_path / "live", contents)


def test_a_bundle_is_as_good_as_itself(live: Bundle, contents: BundleContents) -> None:
    found = compare(live, live, held_out(contents))
    assert found.problems == []
    assert found.users == USERS
    assert found.candidate is not None and found.live is not None
    assert found.candidate.metrics == found.live.metrics
    # Six items of the group are left, two of them right, all with the same score: none is sure.
    assert found.candidate.metrics["recall@20"] == 1
    assert found.gains["recall@20"] == (0, 0, 0)
    assert found.verdict("no need") == Verdict(passed=True)


def test_a_worse_bundle_is_refused_with_the_difference(
    live: Bundle, tmp_path: Path, contents: BundleContents
) -> None:
    bad = published(tmp_path / "bad", planted_contents(np.random.default_rng(1), noise=3.0))
    found = compare(bad, live, held_out(contents))
    assert any("recall@20 is" in problem for problem in found.problems)
    assert any("ndcg@20 is" in problem for problem in found.problems)
    with pytest.raises(GateError, match=r"recall@20 is 0\.\d+, the live bundle's 1\.0000"):
        found.verdict(None)
    forced = found.verdict("the old items are gone")
    assert forced.forced == "the old items are gone"
    assert not forced.passed
    better = compare(live, bad, held_out(contents))
    assert better.problems == []


def test_a_difference_within_chance_is_no_reason(
    live: Bundle, tmp_path: Path, contents: BundleContents
) -> None:
    """Noise that swaps a few items at the end of the list for a few users."""
    noisy = published(tmp_path / "noisy", planted_contents(np.random.default_rng(2), noise=0.15))
    found = compare(noisy, live, held_out(contents))
    assert found.gains["recall@20"][1] <= 0 <= found.gains["recall@20"][2]
    assert found.problems == []


def test_a_few_users_decide_nothing(live: Bundle, tmp_path: Path, contents: BundleContents) -> None:
    bad = published(tmp_path / "bad", planted_contents(np.random.default_rng(1), noise=3.0))
    found = compare(bad, live, held_out(contents, MIN_USERS - 1))
    assert found.users == MIN_USERS - 1
    assert found.problems == []


def test_interactions_of_the_live_bundle_are_not_held_out(
    live: Bundle, contents: BundleContents
) -> None:
    rows, cols = contents.seen.pairs()
    known = HeldOut(
        contents.users.ids,
        contents.items,
        contents.seen,
        np.ones(contents.seen.nnz, np.float32),
        Csr.from_pairs(rows, cols, USERS, len(contents.items)),
    )
    assert compare(live, live, known).users == 0


def test_a_bundle_that_recommends_the_same_to_all_is_refused(
    tmp_path: Path, contents: BundleContents
) -> None:
    """All users get one group: recall and coverage fall."""
    live = published(tmp_path / "live", contents)
    same = np.tile(contents.user_vectors[:1], (USERS, 1))
    candidate = published(tmp_path / "same", replace(contents, user_vectors=same))
    found = compare(candidate, live, held_out(contents))
    assert any("coverage@20 is" in problem for problem in found.problems)


def test_user_vectors_made_from_held_out_items_are_not_used(
    tmp_path: Path, contents: BundleContents
) -> None:
    """The candidate's user vectors come from the held-out items; the gate encodes users anew."""
    told = held_out(contents)
    knows = contents.item_vectors.copy()
    rng = np.random.default_rng(3)
    knows[:] = rng.standard_normal(knows.shape)
    rows, cols = told.relevant.pairs()
    users = np.zeros_like(contents.user_vectors)
    np.add.at(users, rows, knows[cols])
    pairs = [np.concatenate(x) for x in zip(contents.seen.pairs(), (rows, cols), strict=True)]
    cheat = replace(
        contents,
        item_vectors=knows,
        item_parts=knows,
        user_vectors=users,
        seen=Csr.from_pairs(pairs[0], pairs[1], USERS, len(contents.items)),
    )
    candidate = published(tmp_path / "cheat", cheat)
    honest = rank(candidate, told)
    assert not np.allclose(honest.vectors, users)
    assert honest.metrics["recall@20"] < 0.5
    assert rank_popular(candidate, told).metrics == pytest.approx(
        rank_popular(published(tmp_path / "live", contents), told).metrics
    ), "popularity does not know them either"


def test_onnx_that_differs_from_torch_is_refused(live: Bundle, contents: BundleContents) -> None:
    found = compare(
        live, live, held_out(contents), onnx={"item_encoder": 1e-5, "user_encoder": 0.2}
    )
    assert found.problems == ["user_encoder.onnx differs from torch by 0.2"]


def test_a_refused_candidate_leaves_the_store_as_it_was(
    tmp_path: Path, contents: BundleContents
) -> None:
    store = BundleStore(tmp_path / "store")
    version = store.publish(contents)
    live = store.load()
    bad = replace(planted_contents(np.random.default_rng(1), noise=3.0), parent_version=version)
    with pytest.raises(GateError) as refused:
        store.publish(bad, PublicationGate(store, live, held_out(contents), {}))
    assert refused.value.exit_code == 3
    assert store.current() == version
    assert [p.name for p in (Path(store.root) / "bundles").iterdir()] == [version]
    judge = PublicationGate(store, live, held_out(contents), {}, forced="we know")
    forced = store.publish(bad, judge)
    assert store.load().version == forced == store.current()
    verdict = store.manifest(forced).gate
    assert verdict is not None and verdict.forced == "we know"
    assert judge.report().comparison.problems == verdict.problems


@pytest.fixture
def busy_store(tmp_path: Path, contents: BundleContents) -> BundleStore:
    """A store with a live bundle, and the users' next events in the state."""
    store = BundleStore(tmp_path / "store")
    store.publish(contents)
    StateWriter(Path(store.root)).add_events(
        [
            event(f"user-{u}", f"item-{(u % GROUPS) * PER_GROUP + 4 + n}", at=n)
            for n in range(4)
            for u in range(USERS)
        ]
    )
    return store


@pytest.mark.slow
def test_the_command_compares_publishes_and_finds_nothing_new(busy_store: BundleStore) -> None:
    store = Path(busy_store.root)
    said = training("refresh", "--store", store, "--dry-run").stdout
    assert "candidate" in said and "published" not in said
    assert len(busy_store.versions()) == 1
    assert "published" in training("refresh", "--store", store).stdout
    assert busy_store.manifest(busy_store.current()).gate == Verdict(passed=True)
    assert training("refresh", "--store", store).stdout == "nothing new\n"


def loud_items(folder: Path) -> Path:
    """New items with features so large that they would be first for all users."""
    folder.mkdir()
    names = [f"loud-{n}" for n in range(60)]
    (folder / "items.csv").write_text("item_id,title\n" + "".join(f"{n},Loud\n" for n in names))
    rng = np.random.default_rng(0)
    np.save(folder / "image_feat.npy", 1e3 * rng.standard_normal((60, 6)).astype(np.float32))
    return folder


@pytest.mark.slow
def test_the_command_refuses_with_its_own_exit_code(
    busy_store: BundleStore, tmp_path: Path
) -> None:
    store, items = Path(busy_store.root), loud_items(tmp_path / "items")
    before = busy_store.current()
    done = training("refresh", "--store", store, "--items", items, code=3)
    assert "error: the candidate is worse than the live bundle: recall@20 is" in done.stderr
    assert busy_store.current() == before
    assert busy_store.versions() == [before]
    assert [p.name[:7] for p in (store / "reports").iterdir()] == ["refused"] * 2
    training("refresh", "--store", store, "--items", items, "--force", "the shop wants it")
    verdict = busy_store.manifest(busy_store.current()).gate
    assert verdict is not None and not verdict.passed
    assert verdict.forced == "the shop wants it"


@pytest.mark.slow
def test_a_refresh_loop_continues_after_failures_and_ends_with_their_code(
    busy_store: BundleStore, tmp_path: Path
) -> None:
    store, drops = Path(busy_store.root), tmp_path / "drops"
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
        wait_until(lambda: process.poll() is not None or text in log.read_text(), repr(text))
        assert process.poll() is None, log.read_text()

    try:
        said("the id is empty; next attempt in 1 s")
        said("next attempt in 2 s")
        (drops / "a.csv").write_text("user_id,item_id\nann,item-1\n")
        said("published")
        assert busy_store.load().users.get("ann") is not None
        (drops / "b.csv").write_text("user_id\nann\n")
        said("column 'item_id': is missing")
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 2
    finally:
        process.kill()
        process.wait()


def test_both_bundles_are_compared_with_the_options_of_the_gate(
    live: Bundle, contents: BundleContents
) -> None:
    # Each user's next items are two of the user's group; with behaviour's weight at 0 all tie.
    plain = compare(live, live, held_out(contents))
    blind = compare(live, live, held_out(contents), options=RankingOptions(weights="behaviour:0"))
    assert plain.candidate is not None and blind.candidate is not None and blind.live is not None
    assert blind.candidate.metrics == blind.live.metrics
    assert blind.candidate.metrics["recall@20"] < plain.candidate.metrics["recall@20"] == 1


def test_options_that_do_not_fit_the_live_bundle_are_refused_at_once(
    live: Bundle, contents: BundleContents, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match="weights: 'sound:1'"):
        PublicationGate(
            BundleStore(tmp_path / "live"),
            live,
            held_out(contents),
            {},
            options=RankingOptions(weights="sound:1"),
        )


def test_an_index_that_misses_what_lies_behind_seen_items(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Searched as it says that it must be, it finds everything; no more lists, and it does not.

    The users' first 20 items are in the first list, what follows is not.
    """
    monkeypatch.setattr("bundle.format.index.EXACT_BELOW", 1_000)
    monkeypatch.setattr("bundle.format.index.FEWEST_LISTS", 1)
    contents = make_contents(60, 3_000, 8, rng=np.random.default_rng(0), no_interactions=0)
    centres = np.eye(8)[np.arange(3_000) % 8]
    noise = 0.05 * np.random.default_rng(0).standard_normal((3_000, 8))
    items = (centres + noise).astype(np.float32)
    users = np.eye(8)[np.arange(60) % 8].astype(np.float32)
    contents = replace(contents, user_vectors=users, item_vectors=items, item_parts=items)
    best = np.argsort(-(users @ items.T), axis=1)
    seen = [(user, item) for user in range(60) for item in best[user, : 400 if user < 30 else 3]]
    rows, cols = np.array(seen).T
    history = Csr.from_pairs(rows, cols, 60, 3_000)
    bundle = published(tmp_path / "lists", replace(contents, seen=history))
    relevant = Csr.from_pairs(np.arange(60), best[:, 500], 60, 3_000)
    ids = contents.users.take(range(60))
    held = HeldOut(ids, contents.items, history, np.ones(history.nnz, np.float32), relevant)
    found = compare(bundle, None, held)
    assert found.problems == []
    assert found.index_recall is not None and found.index_recall >= 0.98
    assert bundle.lists is not None
    bundle.lists.reach = Reach([[1.0] * 9] * 8, bundle.lists.index.nlist, 0.99)
    found = compare(bundle, None, held)
    assert any("for users who have seen most" in problem for problem in found.problems)
    assert found.index_recall is not None and found.index_recall < 0.98
