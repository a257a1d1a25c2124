"""The file of a study: resumed after a crash, one study each, and what is refused."""

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from filelock import FileLock

from bundle.errors import InputError
from tests.support.data.planted_groups import planted_dataset
from tests.support.running.processes import environment_with_tests
from tests.training.tuning.small_search import SMALL, FakeFit, run_tune, stored
from training.data.dataset import Dataset
from training.data.split import Split
from training.fitting.config import load_config
from training.tuning.search_space import with_values
from training.tuning.study import MAX_ATTEMPTS


@pytest.mark.slow
def test_a_study_continues_until_it_has_enough_trials(
    dataset: Dataset, split: Split, tmp_path: Path
) -> None:
    file = tmp_path / "new" / "study.db"
    first = run_tune(dataset, split, file, trials=1)
    assert first.trial == 0
    # The first trial is the starting configuration: all of its values lie in the space.
    assert first.config == load_config(None, SMALL)
    best = run_tune(dataset, split, file, trials=3)
    assert best.counts == {"finished": 3, "pruned": 0, "diverged": 0}
    trials = stored(file)
    assert best.score == max(trial.value or 0.0 for trial in trials) >= first.score
    assert best.config == with_values(load_config(None, SMALL), trials[best.trial].params)
    assert len({trial.params["optim.learning_rate"] for trial in trials}) == 3
    assert run_tune(dataset, split, file, trials=3) == best
    assert len(stored(file)) == 3


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
import training.tuning.search
from tests.training.tuning.small_search import run_tune
from tests.support.data.planted_groups import planted_dataset
from training.fitting.config import FitConfig
from training.data.split import make_split
dataset = planted_dataset()
split = make_split(dataset, FitConfig().split, np.random.default_rng(0))
real, calls = training.tuning.search.fit_model, []
def fit_model(*arguments, after_epoch):
    def kill(progress):
        after_epoch(progress)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
    calls.append(1)
    return real(*arguments, after_epoch=kill)
training.tuning.search.fit_model = fit_model
run_tune(dataset, split, Path(sys.argv[1]), trials=3)
"""


@pytest.mark.slow
def test_resumes_after_kill_9(dataset: Dataset, split: Split, tmp_path: Path) -> None:
    file = tmp_path / "study.db"
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(file)],
        env=environment_with_tests(),
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    running = optuna.trial.TrialState.RUNNING
    assert [trial.state for trial in stored(file)][1] == running
    best = run_tune(dataset, split, file, trials=3)
    trials = stored(file)
    assert best.counts == {"finished": 3, "pruned": 0, "diverged": 0}
    assert len(trials) == 4
    assert trials[1].params == trials[2].params
    assert running not in {trial.state for trial in trials}


@pytest.mark.slow
def test_values_that_kill_every_process_are_given_up(
    dataset: Dataset, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "study.db"
    for _ in range(MAX_ATTEMPTS):
        FakeFit(monkeypatch, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            run_tune(dataset, split, file, trials=1)
    fake = FakeFit(monkeypatch, [0.1])
    run_tune(dataset, split, file, trials=1)
    attempts = stored(file)
    assert len(attempts) == MAX_ATTEMPTS + 1
    assert all(trial.params == attempts[0].params for trial in attempts[:MAX_ATTEMPTS])
    assert fake.configs[0] != with_values(load_config(None, SMALL), attempts[0].params)


@pytest.mark.slow
def test_a_file_holds_one_study(
    dataset: Dataset, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "study.db"
    FakeFit(monkeypatch, [0.1])
    run_tune(dataset, split, file, trials=1)
    other = planted_dataset(seed=1)
    for changed, what in (
        (lambda: run_tune(other, split, file), "other data"),
        (
            lambda: run_tune(dataset, split, file, config=load_config(None, ["model.dim=5"])),
            "other configuration",
        ),
        (
            lambda: run_tune(dataset, split, file, fixed=frozenset({"model.sss"})),
            "other search space",
        ),
    ):
        with pytest.raises(InputError, match=what) as refused:
            changed()
        assert refused.value.exit_code == 2
        assert str(file) in str(refused.value)


def test_other_files_and_studies_in_use_are_not_changed(
    dataset: Dataset, split: Split, tmp_path: Path
) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("not a database " * 100)
    with pytest.raises(InputError, match="is not a study"):
        run_tune(dataset, split, file)
    somebodys = tmp_path / "other.db"
    connection = sqlite3.connect(somebodys)
    connection.execute("CREATE TABLE orders (id INTEGER)")
    connection.commit()
    connection.close()
    before = somebodys.read_bytes()
    with pytest.raises(InputError, match="is not a study"):
        run_tune(dataset, split, somebodys)
    assert somebodys.read_bytes() == before
    with (
        FileLock(tmp_path / "study.db.lock"),
        pytest.raises(InputError, match="another process is using"),
    ):
        run_tune(dataset, split, tmp_path / "study.db")
