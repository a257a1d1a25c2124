"""The command line: from a folder of data to a published bundle, and its messages."""

import json
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bundle.errors import InputError
from bundle.search.recommender import Recommender
from bundle.store.store import BundleStore
from tests.support.cli import training
from tests.support.data.bundles import publish
from tests.support.data.real_data import real_data
from tests.support.running.object_stores import StoreBackend
from training.baselines import closed_form, simple
from training.cli.evaluate import evaluate
from training.demo.catalogue import taste_hit_rate
from training.demo.truth import read_truth
from training.fitting.config import SimpleBaseline

pytestmark = pytest.mark.slow

FAST = ["--set", "model.dim=16", "--set", "model.negatives=256", "--threads", "1"]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A demo shop with features, and a store with a bundle fitted to it."""
    root = tmp_path_factory.mktemp("fitted")
    data, store = root / "data", root / "store"
    training("demo", data, "--items", "400", "--users", "500")
    said = training("features", data, "--text", "title", "--image", "image").stdout
    assert "text_feat.npy: 400 items × 384" in said
    assert "image_feat.npy: 400 items × 1280" in said
    said = training("fit", data, "--store", store, *FAST, "--set", "optim.max_epochs=12").stdout
    assert "500 users × 400 items" in said
    assert "max abs difference" in said
    assert "published " in said
    return data, store


def test_two_processes_fit_what_one_fits(fitted: tuple[Path, Path], tmp_path: Path) -> None:
    """Without the terms that look at a sample of each process's rows, the sums are the same."""
    data, _ = fitted
    same = ["--set", "model.sss=0", "--set", "model.leave_one_out=false"]
    same += ["--set", "optim.averaging=0.9"]
    options = [str(data), *FAST, *same, "--set", "optim.max_epochs=4"]
    training("fit", *options, "--store", tmp_path / "one")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    arguments = ["--nproc_per_node", "2", "-m", "training", "fit", *options]
    done = subprocess.run(
        [*launcher, *arguments, "--store", str(tmp_path / "two")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("published ") == 1
    one, two = (BundleStore(tmp_path / name).load() for name in ("one", "two"))
    assert len(BundleStore(tmp_path / "two").versions()) == 1
    # Epochs are sums of some hundred steps of Adam, in which float sums of another order drift.
    np.testing.assert_allclose(one.item_vectors, two.item_vectors, atol=0.02)
    assert two.report["valid"]["recall@20"] == pytest.approx(
        one.report["valid"]["recall@20"], abs=0.02
    )


def test_planted_tastes_are_found(fitted: tuple[Path, Path]) -> None:
    data, store = fitted
    truth = read_truth(data / "planted_tastes.json")
    bundle = BundleStore(store).load()
    users = np.flatnonzero(np.asarray(bundle.user_vectors).any(1)).astype(np.int32)
    results = Recommender(bundle).recommend(users, 10, [bundle.seen.row(int(u)) for u in users])
    hits = [
        taste_hit_rate(truth, bundle.users[int(u)], [bundle.items[int(i)] for i in top.item_idx])
        for u, top in zip(users, results, strict=True)
    ]
    everything = [taste_hit_rate(truth, bundle.users[int(u)], bundle.items.ids) for u in users]
    assert np.mean(hits) > 0.5
    assert np.mean(hits) > 4 * np.mean(everything)


def test_evaluate_prints_a_table_or_one_json_object(fitted: tuple[Path, Path]) -> None:
    data, store = fitted
    table = training("evaluate", data, "--store", store).stdout
    for name in ("recall@20", "ndcg@20", "precision@20", "map@20", "coverage@20"):
        assert name in table
    for row in ("DRepMRec", "popularity", "item_cf", "ease", "ials", "lightgcn"):
        assert row in table
    done = training("evaluate", data, "--store", store, "--json", "--baseline", "popularity")
    found = json.loads(done.stdout)
    assert f"{found['recall@20']:.4f}" in table
    assert found["recall@20"] > 2 * found["baselines"]["popularity"]["recall@20"]
    assert found["bundle_version"] == BundleStore(store).current()
    assert found["users"] > 0
    valid = training(
        "evaluate", data, "--store", store, "--json", "--no-baselines", "--split=valid"
    )
    report = BundleStore(store).load().report
    assert json.loads(valid.stdout)["recall@20"] == pytest.approx(report["valid"]["recall@20"])


def test_evaluate_has_no_ease_where_items_by_items_do_not_fit(
    fitted: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, store = fitted
    monkeypatch.setattr(closed_form, "MAX_ITEMS", 399)
    with pytest.raises(InputError, match=r"ease needs a matrix .* these data have 400"):
        evaluate(data, str(store), baseline=[SimpleBaseline.EASE], threads=1)
    monkeypatch.setattr(simple, "evaluate_baseline", lambda *_: {})
    evaluate(data, str(store), as_json=True, threads=1)
    printed = capsys.readouterr()
    assert "ease is left out: more than 399 items" in printed.err
    assert list(json.loads(printed.out)["baselines"]) == [
        "popularity",
        "item_cf",
        "ials",
        "lightgcn",
    ]


def test_evaluate_compares_search_options_with_none(
    fitted: tuple[Path, Path], tmp_path: Path
) -> None:
    data, store = fitted
    arm = tmp_path / "arm.json"
    command = ("evaluate", data, "--store", store, "--no-baselines", "--options", arm)
    arm.write_text('{"exclude_seen": true}')
    found = json.loads(training(*command, "--json").stdout)
    assert found["with_options"] == {name: found[name] for name in found["with_options"]}
    arm.write_text('{"diversity": 0.5}')
    diverse = json.loads(training(*command, "--json").stdout)
    assert diverse["recall@20"] == found["recall@20"]
    assert diverse["with_options"]["coverage@20"] > diverse["coverage@20"]
    assert "with options" in training(*command).stdout
    arm.write_text('{"weights": "sound:2"}')
    assert "weights: 'sound:2' is not NAME:NUMBER" in training(*command, code=2).stderr
    arm.write_text('{"diversity": 5}')
    assert f"{arm}: diversity: " in training(*command, code=2).stderr
    published = training(
        "fit", data, "--store", tmp_path / "store", *FAST, "--gate-options", arm, code=2
    )
    assert f"{arm}: diversity: " in published.stderr


def test_bundles_can_be_listed_shown_verified_and_rolled_back(
    fitted: tuple[Path, Path], tmp_path: Path
) -> None:
    data, source = fitted
    store = tmp_path / "store"
    shutil.copytree(source, store)
    first = BundleStore(store).current()
    again: list[str | Path] = ["fit", data, "--store", store, *FAST]
    again += ["--set", "optim.max_epochs=1"]
    refused = training(*again, code=3)  # by the gate: it is worse than the live one
    assert "worse than the live bundle" in refused.stderr
    assert BundleStore(store).current() == first
    training(*again, "--force", "a test")
    second = BundleStore(store).current()
    listed = training("bundles", "list", "--store", store).stdout.splitlines()
    assert [line.split()[:2] for line in listed] == [[first, "500"], ["*", second]]
    shown = json.loads(training("bundles", "show", "--store", store).stdout)
    assert shown["parent_version"] == first
    assert training("bundles", "verify", "--store", store).stdout.count("whole") == 2
    assert first in training("bundles", "rollback", "--store", store).stdout
    assert BundleStore(store).current() == first
    path = store / "bundles" / second / "items.faiss"
    raw = bytearray(path.read_bytes())
    raw[100] ^= 1
    path.write_bytes(raw)
    refused = training("bundles", "verify", second, "--store", store, code=1)
    assert refused.stderr.startswith("error: ")
    assert "items.faiss" in refused.stderr
    (tmp_path / "empty").mkdir()
    training("bundles", "list", "--store", tmp_path / "empty")
    assert (
        "nothing is published"
        in training("bundles", "show", "--store", tmp_path / "empty", code=1).stderr
    )


def test_everything_works_on_an_object_store(
    fitted: tuple[Path, Path], s3_backend: StoreBackend, tmp_path: Path
) -> None:
    data, local = fitted
    copies = ["--cache", str(s3_backend.cache)]
    on_it = ["--store", s3_backend.url, *copies]
    epochs = ["--set", "optim.max_epochs=1"]
    refused = training("fit", data, "--store", "s3://nowhere/shop", *copies, code=1)
    assert "there is no bucket 'nowhere'" in refused.stderr
    assert "epoch" not in refused.stderr
    said = training("fit", data, *on_it, *FAST, *epochs).stdout
    first = s3_backend.store().current()
    assert f"published {first} in {s3_backend.url}" in said
    [run] = s3_backend.cache.glob("*/run")
    assert list(run.iterdir())
    found = training("evaluate", data, *on_it, "--json", "--no-baselines").stdout
    assert json.loads(found)["bundle_version"] == first
    bundles = ["--store", s3_backend.url]
    listed = training("bundles", "list", *bundles).stdout
    assert listed.startswith(f"* {first}  500 users")
    s3_backend.store().copy(BundleStore(local))
    second = BundleStore(local).current()
    training("bundles", "pin", min(first, second), *bundles)
    assert ", pinned" in training("bundles", "list", *bundles).stdout.splitlines()[0]
    assert training("bundles", "collect", *bundles, "--keep", "1").stdout == ""
    assert training("bundles", "verify", *on_it).stdout.count("whole") == 2
    assert first in training("bundles", "rollback", first, *on_it).stdout
    assert s3_backend.store(tmp_path / "other").load().version == first


def test_bundles_are_pinned_and_collected(fitted: tuple[Path, Path], tmp_path: Path) -> None:
    _, source = fitted
    store = tmp_path / "store"
    shutil.copytree(source, store)
    other = BundleStore(store)
    *gone, live = [*other.versions(), *(publish(other, seed) for seed in (1, 2))]
    assert len(gone) == 2
    training("bundles", "pin", gone[0], "--store", store)
    assert f"{gone[0]}  " in training("bundles", "list", "--store", store).stdout
    said = training("bundles", "collect", "--store", store, "--keep", "1", "--dry-run").stdout
    assert said == "".join(f"would be deleted: {v}\n" for v in gone[1:])
    training("bundles", "unpin", gone[0], "--store", store)
    assert "is not pinned" in training("bundles", "unpin", live, "--store", store, code=1).stderr
    said = training("bundles", "collect", "--store", store, "--keep", "1").stdout
    assert said == "".join(f"deleted: {v}\n" for v in gone)
    assert other.versions() == [live]
    assert (
        "--keep" in training("bundles", "collect", "--store", store, "--keep", "0", code=2).stderr
    )


def test_a_killed_fit_is_resumed(fitted: tuple[Path, Path], tmp_path: Path) -> None:
    data, _ = fitted
    store = tmp_path / "store"
    arguments: list[str | Path] = ["fit", data, "--store", store, *FAST]
    arguments += ["--set", "optim.max_epochs=200"]
    process = subprocess.Popen(
        [sys.executable, "-m", "training", *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    with process.stderr as lines:
        for line in lines:
            if line.startswith("epoch 2:"):
                process.send_signal(signal.SIGKILL)
                break
        process.wait()
    assert not (store / "CURRENT").exists()
    done = training(*arguments[:-1], "optim.max_epochs=4", "--resume")
    assert "epoch 1:" not in done.stderr
    assert "of 4" in done.stdout
    assert BundleStore(store).load().report["history"].__len__() == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "DATA", "--store", "S", "--set", "model.dimm=3"], "model.dimm: unknown key"),
        (["fit", "NOWHERE", "--store", "S"], "NOWHERE"),
        (["fit", "DATA", "--store", "S", "--config", "missing.toml"], "missing.toml"),
        (["fit", "DATA", "--store", "S", "--resume"], "no checkpoint"),
        (["features", "DATA"], "--text, --image or both"),
        (["features", "DATA", "--text", "colourful"], "colourful"),
        (["demo", "DATA"], "is not empty"),
        (["fit", "DATA"], "--store"),
        (["fit", "DATA", "--store", "s3://KEY:SECRET@b/x"], "s3://b/x: credentials belong"),
        (
            ["bundles", "list", "--store", "nfs://b/x"],
            "not a store; use a local directory or one of",
        ),
        (["fit", "DATA", "--store", "S", "--device", "tpu"], "--device"),
    ],
)
def test_wrong_input_gets_one_sentence_and_exit_code_2(
    fitted: tuple[Path, Path], tmp_path: Path, arguments: list[str], message: str
) -> None:
    names = {"DATA": str(fitted[0]), "S": str(tmp_path / "s"), "NOWHERE": str(tmp_path / "NOWHERE")}
    refused = training(*[names.get(a, a) for a in arguments], code=2)
    assert message in refused.stderr
    assert not (tmp_path / "s" / "CURRENT").exists()


def test_cuda_without_a_gpu_is_refused_at_once(fitted: tuple[Path, Path], tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    refused = training("fit", fitted[0], "--store", tmp_path, "--device", "cuda", code=2)
    assert "no CUDA device" in refused.stderr


def test_help_names_every_command_and_config_every_key() -> None:
    said = training("--help").stdout
    for name in ("fit", "evaluate", "features", "demo", "config", "bundles"):
        assert name in said
    config = training("config", "--set", "model.dim=3").stdout
    assert "model.dim = 3" in config
    assert "optim.patience" in config
    assert "split.by" in config


def children_cpu_seconds() -> float:
    """CPU time of the processes that have ended so far."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_tiktok_end_to_end(tmp_path: Path) -> None:
    tiktok = real_data("tiktok")
    store = tmp_path / "store"
    before = children_cpu_seconds()
    training("fit", tiktok, "--store", store, "--threads", "1", "--set", "optim.max_epochs=6")
    assert children_cpu_seconds() - before < 600
    done = training("evaluate", tiktok, "--store", store, "--json", "--no-baselines")
    found = json.loads(done.stdout)
    # Six epochs are a fifth of a fit; popularity has 0.060.
    assert found["recall@20"] > 0.08
    bundle = BundleStore(store).load()
    users = np.arange(len(bundle.users), dtype=np.int32)
    recommender = Recommender(bundle)
    for start in range(0, len(users), 512):
        block = users[start : start + 512]
        results = recommender.recommend(block, 20, [bundle.seen.row(u) for u in block])
        scores = bundle.user_vectors[block] @ bundle.item_vectors.T
        for row, (user, top) in enumerate(zip(block, results, strict=True)):
            if not bundle.user_vectors[user].any():
                scores[row] = bundle.popularity
            scores[row, bundle.seen.row(user)] = -np.inf
            expected = np.sort(scores[row])[::-1][:20]
            np.testing.assert_allclose(top.scores, expected, rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(scores[row, top.item_idx], top.scores, rtol=1e-5, atol=1e-5)
