"""Timed fits on synthetic data of several sizes, and the growth of their time and memory."""

import statistics
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from benchmarks.environment import peak_memory
from benchmarks.synthetic import SHAPES, synthetic_split
from benchmarks.training.timed_fits import Clock
from models.drepmrec import DRepMRec
from training.fitting.batches import epoch_batches
from training.fitting.checkpoint import Progress
from training.fitting.config import FitConfig, RunOptions
from training.fitting.model_factory import build_model
from training.fitting.ranking import watched_split
from training.fitting.trainer import evaluate_valid, fit_model

FEWEST_STEPS = 4
"""Steps that a projection needs; the first is not counted, since it allocates memory."""


class BudgetUsed(Exception):  # noqa: N818  # a signal, not an error
    """Ends a fit whose time is used up."""


class Moment(NamedTuple):
    """Wall and CPU seconds since the start of a fit."""

    wall: float
    cpu: float


class Meter:
    """Times of a fit's set-up, steps and epochs; ends the fit after a step beyond its budget.

    Args:
        budget: in seconds. The fit goes on beyond it until an epoch or FEWEST_STEPS are measured.
    """

    def __init__(self, budget: float) -> None:
        self._budget, self._clock = budget, Clock()
        self.built = Moment(0, 0)
        self.steps: list[Moment] = []
        self.epochs: list[Moment] = []
        self.progress = Progress()
        self.model: DRepMRec | None = None

    def now(self) -> Moment:
        """This moment."""
        return Moment(self._clock.wall, self._clock.cpu)

    def build(self, *arguments: Any) -> DRepMRec:
        """Build the model; the fit's set-up ends here."""
        self.model = build_model(*arguments)
        self.built = self.now()
        return self.model

    def after_step(self, *_: Any) -> None:
        """Hook of the optimiser."""
        self.steps.append(self.now())
        enough = self.epochs or len(self.steps) >= FEWEST_STEPS
        if enough and self.steps[-1].wall > self._budget:
            raise BudgetUsed

    def after_epoch(self, progress: Progress) -> None:
        """Hook of the fit."""
        self.progress = progress
        self.epochs.append(self.now())

    def epoch(self) -> Moment:
        """Median time of an epoch, the first left out if there are more."""
        each = [
            Moment(b.wall - a.wall, b.cpu - a.cpu) for a, b in pairwise([self.built, *self.epochs])
        ]
        each = each[1:] or each
        return Moment(*(statistics.median(of) for of in zip(*each, strict=True)))

    def step(self) -> Moment:
        """Mean time of a step, the first left out."""
        first, last, n = self.steps[0], self.steps[-1], len(self.steps) - 1
        return Moment((last.wall - first.wall) / n, (last.cpu - first.cpu) / n)


def one_size(
    shape: str, size: float, config: FitConfig, run: RunOptions, budget: float
) -> dict[str, Any]:
    """Measurements of a fit on synthetic data.

    An epoch that takes longer than the budget is projected: the mean of the steps so far times the
    number of steps, plus an evaluation of valid.

    Args:
        shape, size: of the data.
        config, run: of the fit.
        budget: seconds after which the fit ends.
    """
    program = peak_memory()
    split, modalities = synthetic_split(SHAPES[shape], size, np.random.default_rng(run.seed))
    meter, finished = Meter(budget), False
    hook = register_optimizer_step_post_hook(meter.after_step)
    with tempfile.TemporaryDirectory() as directory, suppress(BudgetUsed):
        fit_model(
            split,
            modalities,
            "",
            config,
            run,
            Path(directory),
            after_epoch=meter.after_epoch,
            build=meter.build,
        )
        finished = True
    hook.remove()
    assert meter.model is not None
    batches = epoch_batches(
        split.train,
        config,
        torch.Generator(),
        lambda step: step,
        torch.device(run.device),
        meter.model.whole_histories,
    )
    n_steps = len(batches)
    if meter.epochs:
        epoch = meter.epoch()
    else:
        before, step = meter.now(), meter.step()
        evaluate_valid(meter.model, watched_split(split, config.optim.valid_users, run.seed))
        after = meter.now()
        epoch = Moment(*(s * n_steps + b - a for s, a, b in zip(step, before, after, strict=True)))
    best = meter.progress.best_epoch
    return {
        "shape": shape,
        "size": size,
        "users": split.train.n_rows,
        "items": split.train.n_cols,
        "train": split.train.nnz,
        "device": run.device,
        "steps_per_epoch": n_steps,
        "epochs": meter.progress.epoch,
        "epoch_seconds": epoch.wall,
        "epoch_cpu": epoch.cpu,
        "projected_from_steps": None if meter.epochs else len(meter.steps),
        "setup_seconds": meter.built.wall,
        "setup_cpu": meter.built.cpu,
        "valid": [epoch["recall@20"] for epoch in meter.progress.history],
        "best_epoch": best,
        "best_seconds": meter.epochs[best - 1].wall if best else None,
        "finished": finished,
        "peak_mib": peak_memory(),
        "program_mib": program,
        "cuda_mib": torch.cuda.max_memory_allocated() / 2**20 if run.device == "cuda" else None,
    }


def print_size(row: dict[str, Any]) -> None:
    """Print the measurements of a size."""
    steps = row["projected_from_steps"]
    projected = f" (projected from {steps} of {row['steps_per_epoch']} steps)" if steps else ""
    best = (
        f", best valid {'' if row['finished'] else 'so far '}after {row['best_seconds']:.0f} s "
        f"(epoch {row['best_epoch']} of {row['epochs']})"
        if row["best_epoch"]
        else ""
    )
    print(
        f"{row['size']:g} × {SHAPES[row['shape']].title} on {row['device']} "
        f"({row['users']:,} users × {row['items']:,} items, {row['train']:,} pairs): "
        f"epoch {row['epoch_seconds']:.1f} s, {row['epoch_cpu']:.1f} s of CPU{projected}; "
        f"set-up {row['setup_seconds']:.1f} s, {row['setup_cpu']:.1f} s of CPU{best}; "
        f"peak {row['peak_mib']:.0f} MiB"
        + (f", on the GPU {row['cuda_mib']:.0f} MiB" if row["cuda_mib"] else ""),
        flush=True,
    )
    if row["valid"]:
        found = ", ".join(f"{value:.4f}" for value in row["valid"])
        print(f"  valid recall@20 after each epoch: {found}", flush=True)


def exponent(pairs: Sequence[float], values: Sequence[float]) -> float:
    """Exponent b of values ≈ a · pairs^b, by least squares of the logarithms."""
    return float(np.polyfit(np.log(pairs), np.log(values), 1)[0])


def print_growth(rows: list[dict[str, Any]]) -> None:
    """Print the exponents of the growth with the number of pairs, of two sizes or more."""
    if len(rows) < 2:
        return
    columns = {
        "epoch": [row["epoch_seconds"] for row in rows],
        "CPU time of an epoch": [row["epoch_cpu"] for row in rows],
        "set-up": [row["setup_seconds"] for row in rows],
        "CPU time of the set-up": [row["setup_cpu"] for row in rows],
        "memory beyond the program's own": [row["peak_mib"] - row["program_mib"] for row in rows],
    }
    if rows[0]["cuda_mib"]:
        columns["memory of the GPU"] = [row["cuda_mib"] for row in rows]
    pairs = [row["train"] for row in rows]
    fitted = (f"{what} ^{exponent(pairs, of):.2f}" for what, of in columns.items())
    over = f"{len(rows)} sizes, {pairs[0]:,} to {pairs[-1]:,} pairs"
    print(f"growth with the pairs, fitted over {over}: {', '.join(fitted)}")
