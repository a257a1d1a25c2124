"""The file of a hyper-parameter search: one question, its trials, and what a killed process left.

The question is the data, the starting configuration, the seeds and the search space. Trials of
different questions must not be compared, so a file holds one and refuses any other.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import optuna
from filelock import FileLock, Timeout
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError

from bundle.errors import InputError
from training.config import FitConfig
from training.search_space import Range, Value, value_of

NAME = "drepmrec"
DIVERGED = "diverged"
"""User attribute of a failed trial: what was wrong. Failed ones without it were interrupted."""
ATTEMPT = "attempt"
MAX_ATTEMPTS = 3
"""A trial that the process did not survive so often, e.g. for want of memory, is given up."""
FIRST_TRIALS = 5
"""Trials that are never pruned: the median of fewer says little."""
FIRST_EPOCHS = 5
"""Epochs of a trial after which it may be pruned."""

Question = dict[str, object]


def question(
    fingerprint: str, config: FitConfig, seeds: list[int], space: Mapping[str, Range]
) -> Question:
    """What the trials of a study have in common, as JSON has it, by study attribute."""
    return {
        "data_fingerprint": fingerprint,
        "configuration": config.model_dump(mode="json"),
        "seeds": seeds,
        # JSON makes lists of tuples, and so must what is compared with it.
        "search_space": json.loads(json.dumps({key: asdict(space[key]) for key in space})),
    }


@contextmanager
def opened(file: Path, asked: Question) -> Iterator[optuna.Study]:
    """The study of a file, made if it is absent, for this process alone.

    Raises:
        InputError: another process uses it, it is no study, or it asks another question.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file.with_name(file.name + ".lock"))
    try:
        with lock.acquire(blocking=False):
            storage = _storage(file)
            try:
                yield _study(storage, file, asked)
            finally:
                storage.engine.dispose()
    except Timeout:
        raise InputError(f"{file}: another process is working on this study") from None


def _storage(file: Path) -> RDBStorage:
    # Optuna would add its tables to anybody's database.
    if file.is_file() and file.stat().st_size and not _has_studies(file):
        raise InputError(f"{file}: is not a study; name a new file")
    try:
        return RDBStorage(URL.create("sqlite", database=str(file)).render_as_string())
    except (SQLAlchemyError, RuntimeError) as error:
        raise InputError(f"{file}: cannot be opened as a study ({error})") from error


def _has_studies(file: Path) -> bool:
    try:
        connection = sqlite3.connect(file)
        try:
            return bool(
                connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'studies'").fetchall()
            )
        finally:
            connection.close()
    except sqlite3.Error:
        return False


def _study(storage: RDBStorage, file: Path, asked: Question) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=storage,
        study_name=NAME,
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(FIRST_TRIALS, FIRST_EPOCHS),
    )
    # One seed for all runs would propose the same first trials after each interruption.
    study.sampler = optuna.samplers.TPESampler(seed=len(study.get_trials(deepcopy=False)))
    known = study.user_attrs
    for name, value in asked.items():
        if name not in known:
            study.set_user_attr(name, value)
        elif known[name] != value:
            what = "data" if name == "data_fingerprint" else name.replace("_", " ")
            raise InputError(
                f"{file}: this study was started with other {what}, and its trials cannot be "
                "compared; name a new file"
            )
    return study


def queue_start(study: optuna.Study, config: FitConfig, space: Mapping[str, Range]) -> None:
    """Let a new study begin with the starting configuration, as far as it lies in the space."""
    if study.get_trials(deepcopy=False):
        return
    values: dict[str, Value] = {
        key: value
        for key, range_ in space.items()
        if range_.contains(value := value_of(config, key))
    }
    study.enqueue_trial(values)


def queue_interrupted(study: optuna.Study) -> list[int]:
    """Queue the trials again that were running when a process died; returns their numbers."""
    again = []
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        attempt = trial.user_attrs.get(ATTEMPT, 1)
        if attempt < MAX_ATTEMPTS:
            # Queued first: who dies in between has the trial twice rather than never.
            values = trial.system_attrs.get("fixed_params", {}) | trial.params
            study.enqueue_trial(values, user_attrs={ATTEMPT: attempt + 1})
            again.append(trial.number)
        study.tell(trial.number, state=TrialState.FAIL)
    return again


def counts(study: optuna.Study) -> dict[str, int]:
    """How many trials finished, were pruned and diverged; interrupted ones are not counted."""
    trials = study.get_trials(deepcopy=False)
    return {
        "finished": sum(t.state == TrialState.COMPLETE for t in trials),
        "pruned": sum(t.state == TrialState.PRUNED for t in trials),
        "diverged": sum(DIVERGED in t.user_attrs for t in trials),
    }
