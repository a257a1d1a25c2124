"""The command line: from a folder of data to a published bundle, and its messages."""

import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bundle.search.recommender import Recommender
from bundle.store.store import BundleStore
from tests.support.cli import FAST, torchrun, training
from tests.support.data.real_data import real_data
from training.demo.catalogue import taste_hit_rate
from training.demo.truth import read_truth

pytestmark = pytest.mark.slow


def test_two_processes_fit_what_one_fits(fitted: tuple[Path, Path], tmp_path: Path) -> None:
    """Without the terms that look at a sample of each process's rows, the sums are the same."""
    data, _ = fitted
    same = ["--set", "model.sss=0", "--set", "model.leave_one_out=false"]
    same += ["--set", "optim.averaging=0.9"]
    options = [str(data), *FAST, *same, "--set", "optim.max_epochs=4"]
    training("fit", *options, "--store", tmp_path / "one")
    done = torchrun("-m", "training", "fit", *options, "--store", tmp_path / "two")
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
    assert "no checkpoint" not in done.stderr
    assert "epoch 1:" not in done.stderr
    assert "of 4" in done.stdout
    assert BundleStore(store).load().report["history"].__len__() == 4


def test_the_same_command_line_starts_a_fit_and_resumes_it(
    fitted: tuple[Path, Path], tmp_path: Path
) -> None:
    data, _ = fitted
    run = tmp_path / "run"
    arguments: list[str | Path] = ["fit", data, "--store", tmp_path / "store", "--run", run, *FAST]
    arguments += ["--set", "optim.max_epochs=1", "--resume"]
    started = training(*arguments)
    line = f"no checkpoint in {run}: the fit starts from the beginning\n"
    assert started.stderr.count(line) == 1
    assert "epoch 1:" in started.stderr
    again = training(*arguments)
    assert "no checkpoint" not in again.stderr
    assert "epoch 1:" not in again.stderr
    assert "published " in again.stdout
    refused = training(*arguments, "--seed", "1", code=2)
    assert "belongs to another configuration, data set or seed" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "DATA", "--store", "S", "--set", "model.dimm=3"], "model.dimm: unknown key"),
        (["fit", "NOWHERE", "--store", "S"], "NOWHERE"),
        (["fit", "DATA", "--store", "S", "--config", "missing.toml"], "missing.toml"),
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
