"""Search for the hyper-parameters with the best valid recall@20; test is never looked at."""

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
from training.checkpoint import Progress
from training.config import FitConfig, RunOptions
from training.dataset import Modality
from training.fit import SELECTED_ON, DivergedError, fit
from training.search_space import SEARCH_SPACE, Range, check_space, with_values
from training.split import Split
from training.study import (
    DIVERGED,
    counts,
    opened,
    question,
    queue_interrupted,
    queue_start,
)

AfterEpoch = Callable[[Progress], None]


@dataclass(frozen=True)
class Best:
    """What a search found.

    Attributes:
        config: the best configuration, to fit with.
        score: its valid recall@20, mean over the seeds.
        trial: its number, from 0.
        counts: trials that finished, were pruned and diverged.
    """

    config: FitConfig
    score: float
    trial: int
    counts: dict[str, int]


def tune(
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
) -> Best:
    """Run trials until a study has enough of them; each is a fit with sampled hyper-parameters.

    The first trial is the starting configuration, as far as it lies in the space; then Optuna's TPE
    sampler proposes. A trial whose best valid recall@20 so far is below the median of the earlier
    ones at the same epoch is pruned, a diverged one is marked as failed. One that was running when
    the process died is run again.

    Args:
        split: train is fitted, valid is what is chosen by.
        modalities, fingerprint: of the data set.
        config: where the search starts; what is not searched stays as it is.
        run: device and threads of the fits, and the first of their seeds.
        study_file: SQLite file, made if it is absent.
        trials: of the study in all, those of earlier runs and diverged ones included.
        timeout: seconds after which no further trial is started; None for no limit.
        seeds: fits of each trial, of which the first may be pruned.
        fixed: keys that are not searched.
        space: what is searched.

    Raises:
        InputError: the space does not fit the configuration; the file is in use, no study, or
            belongs to other data or settings; or no trial has finished.
    """
    started = time.monotonic()
    space = {key: range_ for key, range_ in space.items() if key not in fixed}
    if not space:
        raise InputError("nothing is left to search: every key of the search space is fixed")
    check_space(space, config)
    distributions = {key: range_.distribution() for key, range_ in space.items()}
    runs = [run.model_copy(update={"seed": run.seed + number}) for number in range(seeds)]
    asked = question(fingerprint, config, [each.seed for each in runs], space)

    def score(sampled: FitConfig, after_epoch: AfterEpoch) -> float:
        scores = []
        for each in runs:
            with tempfile.TemporaryDirectory(prefix="tune-") as directory:
                _, progress = fit(
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

    with opened(study_file, asked) as study:
        queue_start(study, config, space)
        for number in queue_interrupted(study):
            _say(f"trial {number} was interrupted and is run again")
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
    """One trial, told to the study; what is no outcome of a trial, e.g. Ctrl-C, passes through."""

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


def _best(study: optuna.Study, file: Path, config: FitConfig) -> Best:
    found = counts(study)
    if not found["finished"]:
        raise InputError(
            f"{file}: no trial has finished yet ({found['diverged']} diverged); "
            "more --trials or a longer --timeout may help"
        )
    best = study.best_trial
    assert best.value is not None
    return Best(with_values(config, best.params), best.value, best.number, found)


def _say(line: str) -> None:
    tqdm.write(line, file=sys.stderr)
