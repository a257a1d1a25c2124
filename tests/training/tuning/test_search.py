"""The search for hyper-parameters: scores from valid alone, pruning, and the command."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest

from bundle.csr import Csr
from bundle.errors import InputError
from tests.support.data.datasets import write_mmrec
from tests.training.tuning.small_search import SMALL, FakeFit, run_tune, stored
from training.data.dataset import Dataset
from training.data.split import Split
from training.fitting.config import RunOptions, load_config
from training.fitting.trainer import DivergedError, fit_model
from training.tuning.search_space import SEARCH_SPACE
from training.tuning.study import FIRST_EPOCHS, FIRST_TRIALS


@pytest.mark.slow
def test_the_score_is_the_best_valid_recall_and_test_is_never_read(
    dataset: Dataset, split: Split, tmp_path: Path
) -> None:
    nothing = np.empty(0, np.int64)
    no_test = Csr.from_pairs(nothing, nothing, split.test.n_rows, split.test.n_cols)
    blind = replace(split, test=no_test)
    best = run_tune(dataset, blind, tmp_path / "study.db", trials=1)
    _, progress = fit_model(
        split, dataset.modalities, dataset.fingerprint, best.config, RunOptions(), tmp_path / "run"
    )
    assert best.score == progress.best["recall@20"]


def test_the_score_is_the_mean_over_the_seeds(
    dataset: Dataset, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeFit(monkeypatch, [0.1, 0.3], [0.2, 0.1])
    best = run_tune(dataset, split, tmp_path / "study.db", trials=1, seeds=2)
    assert best.score == pytest.approx(0.25)
    assert fake.seeds == [0, 1]
    with pytest.raises(InputError, match="other seeds"):
        run_tune(dataset, split, tmp_path / "study.db", trials=2)


@pytest.mark.slow
def test_a_trial_below_the_median_is_pruned(
    dataset: Dataset, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = [0.2] * (FIRST_EPOCHS + 3), [0.1] * (FIRST_EPOCHS + 3)
    FakeFit(monkeypatch, *[good] * FIRST_TRIALS, bad, good)
    best = run_tune(dataset, split, tmp_path / "study.db", trials=FIRST_TRIALS + 2)
    assert best.counts == {"finished": FIRST_TRIALS + 1, "pruned": 1, "diverged": 0}
    pruned = stored(tmp_path / "study.db")[FIRST_TRIALS]
    assert max(pruned.intermediate_values) == FIRST_EPOCHS


def test_a_diverged_trial_fails_and_the_study_continues(
    dataset: Dataset, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeFit(monkeypatch, DivergedError("the loss is nan"), [0.1])
    with pytest.raises(InputError, match=r"no trial has finished yet \(1 diverged"):
        run_tune(dataset, split, tmp_path / "study.db", trials=1)
    best = run_tune(dataset, split, tmp_path / "study.db", trials=2)
    assert best.counts == {"finished": 1, "pruned": 0, "diverged": 1}
    assert stored(tmp_path / "study.db")[0].state == optuna.trial.TrialState.FAIL


@pytest.mark.slow
def test_no_trial_starts_after_the_timeout(dataset: Dataset, split: Split, tmp_path: Path) -> None:
    run_tune(dataset, split, tmp_path / "study.db", trials=1)
    best = run_tune(dataset, split, tmp_path / "study.db", trials=9, timeout=0)
    assert best.counts["finished"] == 1


def command(*arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "training", "tune", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr + done.stdout
    return done


@pytest.mark.slow
def test_the_command_prints_toml_and_refuses_other_data(dataset: Dataset, tmp_path: Path) -> None:
    data, study, out = tmp_path / "data", tmp_path / "study.db", tmp_path / "best.toml"
    log = dataset.interactions
    rows = [f"{u}\t{i}" for u, i in zip(log.user_idx, log.item_idx, strict=True)]
    write_mmrec(data, "\n".join(["userID\titemID", *rows, ""]))
    fixed = [*SMALL, "model.sss=0.25"]
    options = ["--trials", "1", *(part for each in fixed for part in ("--set", each))]
    done = command(data, "--study", study, "--out", out, *options)
    assert out.read_text() == done.stdout
    assert "valid recall@20" in done.stdout
    assert load_config(out, []) == load_config(None, fixed)
    assert set(stored(study)[0].params) == set(SEARCH_SPACE) - {"model.negatives", "model.sss"}
    write_mmrec(data, "\n".join(["userID\titemID", *rows[1:], ""]))
    refused = command(data, "--study", study, *options, code=2)
    assert refused.stderr.startswith(f"error: {study}: this study was started with other data")
