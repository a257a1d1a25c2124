"""Timed fits of `benchmarks.training.fit_epoch`, each for a process of its own."""

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.training.plain_lightgcn import PlainLightGCN
from training.data.load import read_dataset
from training.data.split import make_split
from training.fitting.checkpoint import Progress
from training.fitting.config import FitConfig, RunOptions
from training.fitting.model_factory import build_model
from training.fitting.ranking import evaluate_vectors
from training.fitting.trainer import fit_model

TARGET = 0.0922
"""Test recall@20 of MMRec's LightGCN on TikTok, on the same split."""


class Clock:
    """Wall and CPU seconds; they do not advance while the clock is stopped."""

    def __init__(self) -> None:
        self._before = (0.0, 0.0)
        self._since: tuple[float, float] | None = _now()

    @property
    def wall(self) -> float:
        return self._so_far()[0]

    @property
    def cpu(self) -> float:
        return self._so_far()[1]

    def stop(self) -> None:
        """Stop counting."""
        self._before, self._since = self._so_far(), None

    def resume(self) -> None:
        """Continue counting."""
        self._since = _now()

    def _so_far(self) -> tuple[float, float]:
        if self._since is None:
            return self._before
        (wall, cpu), (wall_then, cpu_then) = _now(), self._since
        return self._before[0] + wall - wall_then, self._before[1] + cpu - cpu_then


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def compare(folder: Path, config: FitConfig, seed: int, with_yardstick: bool) -> dict[str, Any]:
    """Measurements of our fit and of the yardstick on TikTok, in alternation.

    Args:
        folder: of the data set.
        config, seed: of our fit.
        with_yardstick: whether the plain LightGCN runs, too.
    """
    dataset = read_dataset(folder)
    split = make_split(dataset, config.split, np.random.default_rng(config.split.seed))
    generator = torch.Generator().manual_seed(seed)
    tested = build_model(
        split.train, dataset.modalities, config.model, generator, torch.device("cpu")
    )
    yardstick = PlainLightGCN(split, seed) if with_yardstick else None
    ours: dict[str, Any] = {"target_seconds": None, "target_cpu": None, "target_epoch": None}
    clock = Clock()

    def after_epoch(progress: Progress) -> None:
        clock.stop()
        if progress.best_epoch == progress.epoch:
            tested.load_state_dict(progress.best_model)
            with torch.no_grad():
                vectors = tested()
            test = evaluate_vectors(vectors.users, vectors.items, split.test, split.train)
            ours["best_epoch"], ours["best_seconds"] = progress.epoch, clock.wall
            ours["best_valid"], ours["best_test"] = progress.best["recall@20"], test["recall@20"]
            if ours["target_seconds"] is None and test["recall@20"] >= TARGET:
                ours["target_epoch"] = progress.epoch
                ours["target_seconds"], ours["target_cpu"] = clock.wall, clock.cpu
        ours["epochs"], ours["seconds"] = progress.epoch, clock.wall
        while yardstick and not yardstick.finished and yardstick.seconds < clock.wall:
            yardstick.run_epoch()
        clock.resume()

    run = RunOptions(seed=seed)
    with tempfile.TemporaryDirectory() as directory:
        fit_model(
            split,
            dataset.modalities,
            dataset.fingerprint,
            config,
            run,
            Path(directory),
            after_epoch=after_epoch,
        )
    while yardstick and not yardstick.finished:
        yardstick.run_epoch()
    return {"ours": ours, "yardstick": yardstick.measured() if yardstick else None}
