"""Fits: planted groups are found, seeds decide, resumed fits are equal, wrong input is refused."""

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bundle.errors import InputError
from tests.support.data.planted_groups import N_GROUPS
from tests.support.running.processes import environment_with_tests
from tests.training.fitting.small_fit import SMALL, run_fit, same
from training.data.dataset import Dataset
from training.data.split import Split
from training.fitting import trainer
from training.fitting.checkpoint import Names, warm_start
from training.fitting.config import RunOptions, load_config
from training.fitting.ranking import evaluate_vectors, of_sampled_users
from training.fitting.trainer import CHECKPOINT, DivergedError, fit_model


@pytest.mark.parametrize("ranking", ["softmax", "bpr"])
def test_mixed_precision_finds_the_same(
    ranking: str, dataset: Dataset, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GPUs compute steps so; the CPU can, too."""
    more = [f"model.ranking={ranking}"]
    exact, progress = run_fit(dataset, split, tmp_path / "exact", more=more)
    monkeypatch.setattr(trainer, "MIXED_PRECISION", {"cpu"})
    mixed, also = run_fit(dataset, split, tmp_path / "mixed", more=more)
    assert not same(exact, mixed)
    assert all(value.dtype == torch.float32 for value in mixed.state_dict().values())
    for one, other in zip(progress.history, also.history, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=0.02)
    assert also.best["recall@20"] == pytest.approx(progress.best["recall@20"], abs=0.05)


def test_planted_groups_are_found(dataset: Dataset, split: Split, tmp_path: Path) -> None:
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


def test_the_returned_model_is_the_best_one(dataset: Dataset, split: Split, tmp_path: Path) -> None:
    model, progress = run_fit(dataset, split, tmp_path, epochs=12)
    with torch.no_grad():
        vectors = model()
    again = evaluate_vectors(vectors.users, vectors.items, split.valid, split.train)
    assert again == progress.best
    assert again.items() <= progress.history[progress.best_epoch - 1].items()


def test_a_sample_of_valid_users_decides_when_to_stop(
    dataset: Dataset, split: Split, tmp_path: Path
) -> None:
    more = ["optim.valid_users=5"]
    model, progress = run_fit(dataset, split, tmp_path, epochs=1, more=more)
    with torch.no_grad():
        vectors = model()
    sample = of_sampled_users(split.valid, 5, seed=0)
    assert np.count_nonzero(sample.lengths) == 5 < np.count_nonzero(split.valid.lengths)
    assert evaluate_vectors(vectors.users, vectors.items, sample, split.train) == progress.best
    _, longer = run_fit(dataset, split, tmp_path, epochs=2, more=more, resume=True)
    _, whole = run_fit(dataset, split, tmp_path / "whole", epochs=2, more=more)
    assert [e["recall@20"] for e in longer.history] == [e["recall@20"] for e in whole.history]


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_the_result_depends_on_the_seed_alone(
    dataset: Dataset, split: Split, tmp_path: Path, threads: int
) -> None:
    one, _ = run_fit(dataset, split, tmp_path / "1", threads=threads)
    two, _ = run_fit(dataset, split, tmp_path / "2", threads=threads)
    other, _ = run_fit(dataset, split, tmp_path / "3", seed=1)
    assert same(one, two)
    assert not same(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("averaging", [0, 0.9])
def test_resuming_gives_what_an_uninterrupted_fit_gives(
    dataset: Dataset, split: Split, tmp_path: Path, averaging: float
) -> None:
    more = [f"optim.averaging={averaging}"]
    whole, whole_progress = run_fit(dataset, split, tmp_path / "whole", epochs=6, more=more)
    run_fit(dataset, split, tmp_path / "parts", epochs=2, more=more)
    parts, progress = run_fit(dataset, split, tmp_path / "parts", epochs=6, resume=True, more=more)
    assert same(whole, parts)
    assert progress.epoch == 6
    drop = {"seconds", "cpu_seconds"}
    assert [{k: v for k, v in e.items() if k not in drop} for e in progress.history] == [
        {k: v for k, v in e.items() if k not in drop} for e in whole_progress.history
    ]


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.training.fitting.small_fit import SMALL
import numpy as np
from tests.support.data.planted_groups import planted_dataset
from training.fitting.checkpoint import Names, warm_start
from training.fitting.config import FitConfig, RunOptions, load_config
from training.fitting.trainer import fit_model
from training.data.split import make_split
dataset = planted_dataset()
split = make_split(dataset, FitConfig().split, np.random.default_rng(0))
def kill(progress):
    if progress.epoch == 3:
        os.kill(os.getpid(), signal.SIGKILL)
config = load_config(None, [*SMALL, "optim.max_epochs=6"])
fit_model(split, dataset.modalities, dataset.fingerprint, config, RunOptions(), Path(sys.argv[1]),
    after_epoch=kill)
"""


@pytest.mark.slow
def test_resumes_after_kill_9(dataset: Dataset, split: Split, tmp_path: Path) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "killed")],
        env=environment_with_tests(),
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed, _ = run_fit(dataset, split, tmp_path / "killed", epochs=6, resume=True)
    whole, _ = run_fit(dataset, split, tmp_path / "whole", epochs=6)
    assert same(whole, resumed)


@pytest.mark.slow
def test_early_stopping_counts_epochs_without_a_better_one(
    dataset: Dataset, split: Split, tmp_path: Path
) -> None:
    _, progress = run_fit(dataset, split, tmp_path, epochs=200, more=["optim.patience=2"])
    assert progress.epoch == progress.best_epoch + 2 < 200


def test_resuming_without_a_checkpoint_starts_from_the_beginning(
    dataset: Dataset, split: Split, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, _ = run_fit(dataset, split, tmp_path / "whole", epochs=2)
    assert "no checkpoint" not in capsys.readouterr().err
    resumed, _ = run_fit(dataset, split, tmp_path / "run", epochs=2, resume=True)
    line = f"no checkpoint in {tmp_path / 'run'}: the fit starts from the beginning"
    assert capsys.readouterr().err.splitlines().count(line) == 1
    assert same(whole, resumed)


def test_resume_refuses_what_does_not_fit(dataset: Dataset, split: Split, tmp_path: Path) -> None:
    run_fit(dataset, split, tmp_path, epochs=1)
    with pytest.raises(InputError, match="belongs to another configuration"):
        run_fit(dataset, split, tmp_path, resume=True, more=["model.sss=0.7"])
    with pytest.raises(InputError, match="belongs to another configuration"):
        run_fit(dataset, split, tmp_path, resume=True, seed=5)
    (tmp_path / CHECKPOINT).write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"checkpoint.pt: cannot be read"):
        run_fit(dataset, split, tmp_path, resume=True)


def test_a_loss_that_is_no_number_stops_the_fit(
    dataset: Dataset, split: Split, tmp_path: Path
) -> None:
    image = dataset.modalities["image"]
    features = image.features.copy()
    features[5, 0] = np.nan
    broken = replace(dataset, modalities={"image": replace(image, features=features)})
    with pytest.raises(DivergedError, match="the loss is nan"):
        run_fit(broken, split, tmp_path)
    assert not (tmp_path / CHECKPOINT).exists()


@pytest.mark.slow
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
def test_every_option_fits(
    dataset: Dataset, split: Split, tmp_path: Path, options: list[str]
) -> None:
    _, progress = run_fit(dataset, split, tmp_path, epochs=2, more=options)
    assert np.isfinite(progress.history[-1]["loss"])
    assert progress.history[-1]["loss"] < progress.history[0]["loss"]


def test_tensorboard_gets_the_scalars(dataset: Dataset, split: Split, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    _, progress = run_fit(dataset, split, tmp_path, epochs=2)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert {"loss", "rank", "sss", "recall@20"} <= set(events.Tags()["scalars"])
    assert [e.step for e in events.Scalars("loss")] == [1, 2]
    assert events.Scalars("recall@20")[-1].value == pytest.approx(
        progress.history[-1]["recall@20"], abs=1e-6
    )


@pytest.mark.slow
def test_a_warm_start_takes_rows_by_id_from_the_last_fit(
    dataset: Dataset, split: Split, tmp_path: Path
) -> None:
    """Other row numbers, a new user and item, one user and item less."""
    names = Names(dataset.users.ids, dataset.items.ids)
    config = load_config(None, [*SMALL, "optim.max_epochs=8", "model.backbone=lightgcn"])
    run, modalities = RunOptions(), dataset.modalities
    fingerprint = dataset.fingerprint
    model, progress = fit_model(split, modalities, fingerprint, config, run, tmp_path, names=names)
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
            assert (value[-1] == 7).all(), "a new row is as it was drawn"
        else:
            assert torch.equal(value, old[name]), name


@pytest.mark.slow
def test_a_warm_fit_starts_from_the_best_epoch_of_the_last_one(
    dataset: Dataset, split: Split, tmp_path: Path
) -> None:
    names = Names(dataset.users.ids, dataset.items.ids)
    config = load_config(None, [*SMALL, "optim.max_epochs=1"])
    longer = load_config(None, [*SMALL, "optim.max_epochs=20"])
    run, modalities, fingerprint = RunOptions(), dataset.modalities, dataset.fingerprint
    _, cold = fit_model(split, modalities, fingerprint, config, run, tmp_path / "cold", names=names)
    fit_model(split, modalities, fingerprint, longer, run, tmp_path / "run", names=names)
    _, warm = fit_model(
        split, modalities, fingerprint, config, run, tmp_path / "run", names=names, warm=True
    )
    assert warm.history[0]["loss"] < 0.95 * cold.history[0]["loss"]
    with pytest.raises(InputError, match="no checkpoint"):
        fit_model(
            split, modalities, fingerprint, config, run, tmp_path / "no", names=names, warm=True
        )


def test_planted_groups_are_found_by_whole_histories(
    dataset: Dataset, split: Split, tmp_path: Path
) -> None:
    more = ["model.history_parts=4"]
    model, progress = run_fit(dataset, split, tmp_path, epochs=30, more=more)
    assert progress.best["recall@20"] > 0.9
    assert same(model, run_fit(dataset, split, tmp_path / "again", epochs=30, more=more)[0])
