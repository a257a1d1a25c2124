"""Fitting: it finds planted tastes, is deterministic, resumes exactly and stops on nonsense."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from planted import N_GROUPS, planted_dataset

from bundle.errors import InputError
from training.checkpoint import Names, warm_start
from training.config import FitConfig, RunOptions, load_config
from training.dataset import Dataset
from training.fit import CHECKPOINT, DivergedError, fit
from training.ranking import evaluate_vectors
from training.split import Split, make_split

SMALL = ["model.dim=8", "model.negatives=16", "optim.batch_size=64", "optim.learning_rate=0.02"]


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return planted_dataset()


@pytest.fixture(scope="module")
def split(dataset: Dataset) -> Split:
    return make_split(dataset, FitConfig().split, np.random.default_rng(0))


def run_fit(dataset, split, directory, *, epochs=4, seed=0, resume=False, more=(), **options):
    config = load_config(None, [*SMALL, f"optim.max_epochs={epochs}", *more])
    run = RunOptions(seed=seed, **options)
    return fit(
        split, dataset.modalities, dataset.fingerprint, config, run, directory, resume=resume
    )


def same(one: torch.nn.Module, two: torch.nn.Module) -> bool:
    other = two.state_dict()
    return all(torch.equal(value, other[name]) for name, value in one.state_dict().items())


def test_planted_tastes_come_back(dataset, split, tmp_path):
    model, progress = run_fit(dataset, split, tmp_path, epochs=30)
    with torch.no_grad():
        vectors = model()
    scores = vectors.users @ vectors.items.T
    for user in range(len(dataset.users) - 1):
        scores[user, split.train.row(user)] = -torch.inf
        top = scores[user].topk(5).indices
        assert (top % N_GROUPS == user % N_GROUPS).sum() >= 4
    test = evaluate_vectors(vectors.users, vectors.items, split.test, split.train)
    assert test["recall@20"] > 0.95
    assert progress.best["recall@20"] == max(e["recall@20"] for e in progress.history)


def test_the_returned_model_is_the_best_one(dataset, split, tmp_path):
    model, progress = run_fit(dataset, split, tmp_path, epochs=12)
    with torch.no_grad():
        vectors = model()
    again = evaluate_vectors(vectors.users, vectors.items, split.valid, split.train)
    assert again == progress.best
    assert again.items() <= progress.history[progress.best_epoch - 1].items()


@pytest.mark.parametrize("threads", [1, 2])
def test_the_result_depends_on_the_seed_alone(dataset, split, tmp_path, threads):
    one, _ = run_fit(dataset, split, tmp_path / "1", threads=threads)
    two, _ = run_fit(dataset, split, tmp_path / "2", threads=threads)
    other, _ = run_fit(dataset, split, tmp_path / "3", seed=1)
    assert same(one, two)
    assert not same(one, other)


def test_resuming_gives_what_an_uninterrupted_fit_gives(dataset, split, tmp_path):
    whole, whole_progress = run_fit(dataset, split, tmp_path / "whole", epochs=6)
    run_fit(dataset, split, tmp_path / "parts", epochs=2)
    parts, progress = run_fit(dataset, split, tmp_path / "parts", epochs=6, resume=True)
    assert same(whole, parts)
    assert progress.epoch == 6
    drop = {"seconds"}
    assert [{k: v for k, v in e.items() if k not in drop} for e in progress.history] == [
        {k: v for k, v in e.items() if k not in drop} for e in whole_progress.history
    ]


KILLED = """
import os, signal, sys
from pathlib import Path
import test_fit
import numpy as np
from planted import planted_dataset
from training.checkpoint import Names, warm_start
from training.config import FitConfig, RunOptions, load_config
from training.fit import fit
from training.split import make_split
dataset = planted_dataset()
split = make_split(dataset, FitConfig().split, np.random.default_rng(0))
def kill(progress):
    if progress.epoch == 3:
        os.kill(os.getpid(), signal.SIGKILL)
config = load_config(None, [*test_fit.SMALL, "optim.max_epochs=6"])
fit(split, dataset.modalities, dataset.fingerprint, config, RunOptions(), Path(sys.argv[1]),
    after_epoch=kill)
"""


def test_resumes_after_kill_9(dataset, split, tmp_path):
    search_path = os.pathsep.join(p for p in sys.path if p)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "killed")],
        env=os.environ | {"PYTHONPATH": search_path},
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed, _ = run_fit(dataset, split, tmp_path / "killed", epochs=6, resume=True)
    whole, _ = run_fit(dataset, split, tmp_path / "whole", epochs=6)
    assert same(whole, resumed)


def test_early_stopping_counts_epochs_without_a_better_one(dataset, split, tmp_path):
    _, progress = run_fit(dataset, split, tmp_path, epochs=200, more=["optim.patience=2"])
    assert progress.epoch == progress.best_epoch + 2 < 200


def test_resume_refuses_what_does_not_fit(dataset, split, tmp_path):
    with pytest.raises(InputError, match="no checkpoint to resume"):
        run_fit(dataset, split, tmp_path, resume=True)
    run_fit(dataset, split, tmp_path, epochs=1)
    with pytest.raises(InputError, match="belongs to another configuration"):
        run_fit(dataset, split, tmp_path, resume=True, more=["model.sss=0.7"])
    with pytest.raises(InputError, match="belongs to another configuration"):
        run_fit(dataset, split, tmp_path, resume=True, seed=5)
    (tmp_path / CHECKPOINT).write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"checkpoint.pt: cannot be read"):
        run_fit(dataset, split, tmp_path, resume=True)


def test_a_loss_that_is_no_number_stops_the_fit(dataset, split, tmp_path):
    image = dataset.modalities["image"]
    features = image.features.copy()
    features[5, 0] = np.nan
    broken = replace(dataset, modalities={"image": replace(image, features=features)})
    with pytest.raises(DivergedError, match="the loss is nan"):
        run_fit(broken, split, tmp_path)
    assert not (tmp_path / CHECKPOINT).exists()


@pytest.mark.parametrize(
    "options",
    [
        ["model.backbone=mf"],
        ["model.ranking=bpr"],
        ["model.fusion=sum", "model.coupled=true"],
        ["model.fusion=concat"],
        ["model.user_layers=1", "model.inter_alignment=0.1", "model.modality_alignment=0.1"],
        ["model.free_embedding=false", "model.line_ranking=0.5"],
        ["model.item_layers=0", "model.behaviour_layers=0"],
    ],
)
def test_every_option_fits(dataset, split, tmp_path, options):
    _, progress = run_fit(dataset, split, tmp_path, epochs=2, more=options)
    assert np.isfinite(progress.history[-1]["loss"])
    assert progress.history[-1]["loss"] < progress.history[0]["loss"]


def test_tensorboard_gets_the_scalars(dataset, split, tmp_path: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    _, progress = run_fit(dataset, split, tmp_path, epochs=2)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert {"loss", "rank", "sss", "recall@20"} <= set(events.Tags()["scalars"])
    assert [e.step for e in events.Scalars("loss")] == [1, 2]
    assert events.Scalars("recall@20")[-1].value == pytest.approx(
        progress.history[-1]["recall@20"], abs=1e-6
    )


def test_a_warm_start_knows_whom_the_last_fit_knew(dataset, split, tmp_path):
    """Other numbers, a new user and item, one user and item less: rows are found by their ids."""
    names = Names(dataset.users.ids, dataset.items.ids)
    config = load_config(None, [*SMALL, "optim.max_epochs=8", "model.backbone=lightgcn"])
    run, modalities = RunOptions(), dataset.modalities
    fingerprint = dataset.fingerprint
    model, progress = fit(split, modalities, fingerprint, config, run, tmp_path, names=names)
    old = {name: value.clone() for name, value in progress.best_model.items()}
    other = Names(
        [*reversed(names.users[1:]), "new user"], [*reversed(names.items[1:]), "new item"]
    )
    drawn = {name: value.clone() for name, value in model.named_parameters()}
    with torch.no_grad():
        for value in model.parameters():
            value.fill_(7)
    taken, of = warm_start(tmp_path / CHECKPOINT, model, other)
    assert taken == of == len(drawn)
    for name, value in model.named_parameters():
        if name == "bias" or name.endswith((".users", ".items", ".embedding")):
            assert torch.equal(value[:-1], old[name][1:].flip(0)), name
            assert (value[-1] == 7).all(), "somebody new is as they were drawn"
        else:
            assert torch.equal(value, old[name]), name


def test_a_warm_fit_begins_where_the_last_one_was_best(dataset, split, tmp_path):
    names = Names(dataset.users.ids, dataset.items.ids)
    config = load_config(None, [*SMALL, "optim.max_epochs=1"])
    longer = load_config(None, [*SMALL, "optim.max_epochs=20"])
    run, modalities, fingerprint = RunOptions(), dataset.modalities, dataset.fingerprint
    _, cold = fit(split, modalities, fingerprint, config, run, tmp_path / "cold", names=names)
    fit(split, modalities, fingerprint, longer, run, tmp_path / "run", names=names)
    _, warm = fit(
        split, modalities, fingerprint, config, run, tmp_path / "run", names=names, warm=True
    )
    assert warm.history[0]["loss"] < 0.95 * cold.history[0]["loss"]
    with pytest.raises(InputError, match="no checkpoint"):
        fit(split, modalities, fingerprint, config, run, tmp_path / "no", names=names, warm=True)
