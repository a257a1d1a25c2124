"""Hyper-parameter search by valid recall@20; the test part is never used."""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.trial import TrialState
from tqdm import tqdm

from bundle.errors import InputError
from training.data.dataset import Modality
from training.data.split import Split
from training.fitting.checkpoint import Progress
from training.fitting.config import FitConfig, RunOptions
from training.fitting.trainer import SELECTED_ON, DivergedError, fit_model
from training.tuning.search_space import SEARCH_SPACE, Range, check_space, with_values
from training.tuning.study import (
    DIVERGED,
    counts,
    open_study,
    queue_interrupted,
    queue_start,
    study_attributes,
)

AfterEpoch = Callable[[Progress], None]


@dataclass(frozen=True)
class SearchResult:
    """Result of a search.

    Attributes:
        config: the best configuration.
        score: its valid recall@20, mean over the seeds.
        trial: number of its trial, from 0.
        counts: numbers of finished, pruned and diverged trials.
    """

    config: FitConfig
    score: float
    trial: int
    counts: dict[str, int]


def search_hyperparameters(
    split: Split,
    modalities: dict[str, Modality],
    fingerprint: str,
    config: FitConfig,
    run: RunOptions,
    study_file: Path,
    *,
    trials: int,
    timeout: float | None = None,
    seeds: int = 1,
    fixed: frozenset[str] = frozenset(),
    space: Mapping[str, Range] = SEARCH_SPACE,
) -> SearchResult:
    """Run trials, each a fit with sampled hyper-parameters, until a study has enough of them.

    The first trial is the starting configuration, as far as it lies in the space; Optuna's TPE
    sampler proposes the others. A trial is pruned if its best valid recall@20 is below the median
    of earlier trials at the same epoch; a diverged trial counts as failed. A trial that was
    interrupted with the process is run again.

    Args:
        split: train is fitted, valid gives the score.
        modalities, fingerprint: of the data set.
        config: starting configuration; keys outside the space keep their values.
        run: device, threads and first seed of the fits.
        study_file: SQLite file, created if absent.
        trials: total number of trials, including earlier runs and diverged trials.
        timeout: seconds after which no new trial starts; None for no limit.
        seeds: fits per trial; only the first may be pruned.
        fixed: keys that are not searched.
        space: search space by configuration key.

    Raises:
        InputError: the space does not match the configuration; the file is in use, is not a study,
            or belongs to other data or settings; or no trial has finished.
    """
    started = time.monotonic()
    space = {key: range_ for key, range_ in space.items() if key not in fixed}
    if not space:
        raise InputError("nothing to search: all keys of the search space are fixed")
    check_space(space, config)
    distributions = {key: range_.distribution() for key, range_ in space.items()}
    runs = [run.model_copy(update={"seed": run.seed + number}) for number in range(seeds)]
    asked = study_attributes(fingerprint, config, [each.seed for each in runs], space)

    def score(sampled: FitConfig, after_epoch: AfterEpoch) -> float:
        scores = []
        for each in runs:
            with tempfile.TemporaryDirectory(prefix="search_hyperparameters-") as directory:
                _, progress = fit_model(
                    split,
                    modalities,
                    fingerprint,
                    sampled,
                    each,
                    Path(directory),
                    after_epoch=after_epoch if each is runs[0] else None,
                )
            scores.append(progress.best[SELECTED_ON])
        return statistics.fmean(scores)

    with open_study(study_file, asked) as study:
        queue_start(study, config, space)
        for number in queue_interrupted(study):
            _say(f"trial {number} was interrupted and runs again")
        while sum(counts(study).values()) < trials:
            if timeout is not None and time.monotonic() - started >= timeout:
                break
            trial = study.ask(distributions)
            _run(study, trial, with_values(config, trial.params), score)
        return _best(study, study_file, config)


def _run(
    study: optuna.Study,
    trial: optuna.Trial,
    sampled: FitConfig,
    score: Callable[[FitConfig, AfterEpoch], float],
) -> None:
    """Run one trial and tell the study its outcome; other exceptions, e.g. Ctrl-C, propagate."""

    def after_epoch(progress: Progress) -> None:
        trial.report(progress.best[SELECTED_ON], progress.epoch)
        if trial.should_prune():
            raise optuna.TrialPruned

    values = ", ".join(f"{key}={value}" for key, value in trial.params.items())
    _say(f"trial {trial.number}: {values}")
    try:
        value = score(sampled, after_epoch)
    except optuna.TrialPruned:
        study.tell(trial, state=TrialState.PRUNED)
        _say(f"trial {trial.number}: pruned")
    except DivergedError as error:
        trial.set_user_attr(DIVERGED, str(error))
        study.tell(trial, state=TrialState.FAIL)
        _say(f"trial {trial.number}: {error}")
    else:
        study.tell(trial, value)
        _say(f"trial {trial.number}: valid {SELECTED_ON} {value:.4f}, best {study.best_value:.4f}")


def _best(study: optuna.Study, file: Path, config: FitConfig) -> SearchResult:
    found = counts(study)
    if not found["finished"]:
        raise InputError(
            f"{file}: no trial has finished yet ({found['diverged']} diverged); "
            "increase --trials or --timeout"
        )
    best = study.best_trial
    assert best.value is not None
    return SearchResult(with_values(config, best.params), best.value, best.number, found)


def _say(line: str) -> None:
    tqdm.write(line, file=sys.stderr)
