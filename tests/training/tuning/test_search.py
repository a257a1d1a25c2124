"""The search for hyper-parameters: resuming, refusals, and scores from valid alone."""

import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from filelock import FileLock

import training.tuning.search
from bundle.csr import Csr
from bundle.errors import InputError
from tests.support.data.datasets import write_mmrec
from tests.support.data.planted_groups import planted_dataset
from tests.support.paths import DOCS
from tests.support.running.processes import environment_with_tests
from training.data.dataset import Dataset
from training.data.split import Split
from training.fitting.checkpoint import Progress
from training.fitting.config import FitConfig, RunOptions, config_toml, load_config
from training.fitting.trainer import DivergedError, fit_model
from training.tuning.search import SearchResult, search_hyperparameters
from training.tuning.search_space import (
    SEARCH_SPACE,
    Choice,
    FloatRange,
    IntRange,
    check_space,
    with_values,
)
from training.tuning.study import FIRST_EPOCHS, FIRST_TRIALS, MAX_ATTEMPTS, NAME

SMALL = ["model.dim=4", "model.negatives=8", "optim.batch_size=256", "optim.max_epochs=2"]
SPACE = {
    "optim.learning_rate": FloatRange(1e-3, 1e-1, log=True),
    "model.item_layers": IntRange(0, 2),
    "model.sss": Choice((0.0, 0.3)),
}


def run_tune(
    dataset: Dataset,
    split: Split,
    file: Path,
    *,
    trials: int = 2,
    space: dict[str, Any] = SPACE,
    config: FitConfig | None = None,
    **options: Any,
) -> SearchResult:
    return search_hyperparameters(
        split,
        dataset.modalities,
        dataset.fingerprint,
        config or load_config(None, SMALL),
        RunOptions(),
        file,
        trials=trials,
        space=space,
        **options,
    )


def stored(file: Path) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name=NAME, storage=f"sqlite:///{file}").trials


class FakeFit:
    """In the place of `fit`: valid recall@20 epoch by epoch, for each call."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *courses: Any) -> None:
        self.courses = list(courses)
        self.seeds: list[int] = []
        self.configs: list[FitConfig] = []
        monkeypatch.setattr(training.tuning.search, "fit_model", self)

    def __call__(
        self, *arguments: Any, after_epoch: Callable[[Progress], None] | None
    ) -> tuple[None, Progress]:
        config, run = arguments[3:5]
        self.seeds.append(run.seed)
        self.configs.append(config)
        course = self.courses.pop(0)
        if isinstance(course, BaseException):
            raise course
        progress = Progress()
        for value in course:
            progress.epoch += 1
            progress.best = {"recall@20": max(value, progress.best.get("recall@20", 0.0))}
            if after_epoch:
                after_epoch(progress)
        return None, progress


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


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
import training.tuning.search
from tests.training.tuning.test_search import run_tune
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
def test_no_trial_starts_after_the_timeout(dataset: Dataset, split: Split, tmp_path: Path) -> None:
    run_tune(dataset, split, tmp_path / "study.db", trials=1)
    best = run_tune(dataset, split, tmp_path / "study.db", trials=9, timeout=0)
    assert best.counts["finished"] == 1


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


def test_the_search_space_fits_the_configuration_and_its_description() -> None:
    check_space(SEARCH_SPACE, FitConfig())
    document = (DOCS / "guide" / "training.md").read_text()
    described = set(re.findall(r"^\| `((?:model|optim)\.\w+)` \|", document, re.M))
    assert described == set(SEARCH_SPACE)


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


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"model.heat": FloatRange(0, 1)}, "the configuration has no key model.heat"),
        ({"colour": FloatRange(0, 1)}, "the configuration has no key colour"),
        ({"model.temperature": FloatRange(0, 1)}, "model.temperature: .*greater than 0"),
        ({"model.item_layers": IntRange(0, 99)}, "model.item_layers: "),
        ({"model.fusion": Choice(("concat", "glue"))}, "model.fusion: "),
        ({}, "nothing to search"),
    ],
)
def test_a_space_that_does_not_fit_is_refused_by_name(
    dataset: Dataset, split: Split, tmp_path: Path, space: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        run_tune(dataset, split, tmp_path / "study.db", space=space)
    assert not (tmp_path / "study.db").exists()


def test_a_configuration_as_toml_is_the_same_configuration(tmp_path: Path) -> None:
    config = load_config(
        None, ["min_weight=4", "model.sss=1e-5", "model.fusion=sum", "model.free_embedding=false"]
    )
    for each in (config, FitConfig()):
        (tmp_path / "c.toml").write_text(config_toml(each))
        assert load_config(tmp_path / "c.toml", []) == each
