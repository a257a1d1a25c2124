"""The fits that fit_epoch.py times, each meant for a process of its own."""

import statistics
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import peak_memory
from plain_lightgcn import PlainLightGCN
from synthetic import synthetic_split

from training.build import build_model
from training.checkpoint import Progress
from training.config import FitConfig, RunOptions
from training.dataset import Dataset
from training.fit import fit
from training.ranking import evaluate_vectors
from training.split import make_split

TARGET = 0.0922
"""Test recall@20 of MMRec's LightGCN on TikTok, same split."""


class Enough(Exception):  # noqa: N818  # it is no error
    """The budget is used up."""


class Clock:
    """Wall and CPU seconds, without what happens while it is stopped."""

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
        """What comes now does not count."""
        self._before, self._since = self._so_far(), None

    def go_on(self) -> None:
        """What comes now counts."""
        self._since = _now()

    def _so_far(self) -> tuple[float, float]:
        if self._since is None:
            return self._before
        (wall, cpu), (wall_then, cpu_then) = _now(), self._since
        return self._before[0] + wall - wall_then, self._before[1] + cpu - cpu_then


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def one_size(size: float, config: FitConfig, seed: int, budget: float) -> dict[str, Any]:
    """A fit on synthetic data of `size` times TikTok's, ended after `budget` seconds."""
    split, modalities = synthetic_split(size, np.random.default_rng(seed))
    before, clock, marks = peak_memory(), Clock(), []
    reached, finished = Progress(), False

    def after_epoch(progress: Progress) -> None:
        nonlocal reached
        reached = progress
        marks.append(clock.wall)
        if clock.wall > budget:
            raise Enough

    run = RunOptions(seed=seed)
    with tempfile.TemporaryDirectory() as directory, suppress(Enough):
        fit(split, modalities, "", config, run, Path(directory), after_epoch=after_epoch)
        finished = True
    epochs = [epoch["seconds"] for epoch in reached.history]
    return {
        "size": size,
        "users": split.train.n_rows,
        "items": split.train.n_cols,
        "train": split.train.nnz,
        "epochs": reached.epoch,
        "epoch_seconds": statistics.median(epochs[1:] or epochs),
        "setup_seconds": marks[0] - epochs[0],
        "best_epoch": reached.best_epoch,
        "best_seconds": marks[reached.best_epoch - 1],
        "finished": finished,
        "peak_mib": peak_memory(),
        "data_mib": before,
    }


def compare(folder: Path, config: FitConfig, seed: int, with_yardstick: bool) -> dict[str, Any]:
    """Our fit and the yardstick on TikTok, turn by turn."""
    dataset = Dataset.read(folder)
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
        clock.go_on()

    run = RunOptions(seed=seed)
    with tempfile.TemporaryDirectory() as directory:
        fit(
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
