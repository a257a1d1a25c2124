"""Study file of a hyper-parameter search: an Optuna study in SQLite that survives interruptions.

Its attributes are the data, the starting configuration, the seeds and the search space. Trials with
other attributes cannot be compared, so a file with other ones is refused.
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
from training.fitting.config import FitConfig
from training.tuning.search_space import Range, Value, value_of

NAME = "drepmrec"
DIVERGED = "diverged"
"""User attribute of a diverged trial: the error. Failed trials without it were interrupted."""
ATTEMPT = "attempt"
"""User attribute of a repeated trial: number of the attempt."""
MAX_ATTEMPTS = 3
"""Maximum attempts of a trial; one that kills the process, e.g. by its memory, is given up."""
FIRST_TRIALS = 5
"""Number of first trials that are never pruned, because a median of fewer is unreliable."""
FIRST_EPOCHS = 5
"""Epochs of a trial before it may be pruned; early scores are noisy."""

StudyAttributes = dict[str, object]


def study_attributes(
    fingerprint: str, config: FitConfig, seeds: list[int], space: Mapping[str, Range]
) -> StudyAttributes:
    """Attributes that all trials of a study share, as JSON values."""
    return {
        "data_fingerprint": fingerprint,
        "configuration": config.model_dump(mode="json"),
        "seeds": seeds,
        # JSON turns tuples into lists; values compared with stored ones must match.
        "search_space": json.loads(json.dumps({key: asdict(space[key]) for key in space})),
    }


@contextmanager
def open_study(file: Path, asked: StudyAttributes) -> Iterator[optuna.Study]:
    """Open or create the study of a file, exclusively for this process.

    Raises:
        InputError: another process uses the file, it is not a study, or it has other attributes.
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
        raise InputError(f"{file}: another process is using this study") from None


def _storage(file: Path) -> RDBStorage:
    # Optuna would add its tables to any database.
    if file.is_file() and file.stat().st_size and not _has_studies(file):
        raise InputError(f"{file}: is not a study; choose a new file")
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


def _study(storage: RDBStorage, file: Path, asked: StudyAttributes) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=storage,
        study_name=NAME,
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(FIRST_TRIALS, FIRST_EPOCHS),
    )
    # With a constant seed, every continuation would propose the same trials.
    study.sampler = optuna.samplers.TPESampler(seed=len(study.get_trials(deepcopy=False)))
    known = study.user_attrs
    for name, value in asked.items():
        if name not in known:
            study.set_user_attr(name, value)
        elif known[name] != value:
            what = "data" if name == "data_fingerprint" else name.replace("_", " ")
            raise InputError(
                f"{file}: this study was started with other {what}, so its trials cannot be "
                "compared; choose a new file"
            )
    return study


def queue_start(study: optuna.Study, config: FitConfig, space: Mapping[str, Range]) -> None:
    """Queue the starting configuration, as far as it lies in the space, as a new study's first."""
    if study.get_trials(deepcopy=False):
        return
    values: dict[str, Value] = {
        key: value
        for key, range_ in space.items()
        if range_.contains(value := value_of(config, key))
    }
    study.enqueue_trial(values)


def queue_interrupted(study: optuna.Study) -> list[int]:
    """Queue the trials again that were interrupted with a process; returns their numbers."""
    again = []
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        attempt = trial.user_attrs.get(ATTEMPT, 1)
        if attempt < MAX_ATTEMPTS:
            # Queued first, so that a crash in between repeats the trial rather than loses it.
            values = trial.system_attrs.get("fixed_params", {}) | trial.params
            study.enqueue_trial(values, user_attrs={ATTEMPT: attempt + 1})
            again.append(trial.number)
        study.tell(trial.number, state=TrialState.FAIL)
    return again


def counts(study: optuna.Study) -> dict[str, int]:
    """Numbers of finished, pruned and diverged trials; interrupted ones are not counted."""
    trials = study.get_trials(deepcopy=False)
    return {
        "finished": sum(t.state == TrialState.COMPLETE for t in trials),
        "pruned": sum(t.state == TrialState.PRUNED for t in trials),
        "diverged": sum(DIVERGED in t.user_attrs for t in trials),
    }
