"""Searches of a few short fits, and a fit that only reports scores."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

import training.tuning.search
from training.data.dataset import Dataset
from training.data.split import Split
from training.fitting.checkpoint import Progress
from training.fitting.config import FitConfig, RunOptions, load_config
from training.tuning.search import SearchResult, search_hyperparameters
from training.tuning.search_space import Choice, FloatRange, IntRange
from training.tuning.study import NAME

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
