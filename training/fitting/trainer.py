"""Training loop: epochs, early stopping on the valid part, checkpoints."""

import hashlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch.utils.tensorboard.writer import SummaryWriter
from tqdm import tqdm
from typing_extensions import TypeVar

from bundle.csr import Csr
from bundle.errors import DRepMRecError, InputError
from models.config import ModelConfig
from models.drepmrec import DRepMRec
from models.trainable import HistoryBatch, Trainable, Vectors
from training.data.dataset import Modality
from training.data.split import Split
from training.fitting.averaging import ParameterAverage
from training.fitting.batches import epoch_batches
from training.fitting.checkpoint import (
    Names,
    Progress,
    load_checkpoint,
    save_checkpoint,
    warm_start,
)
from training.fitting.config import FitConfig, RunOptions
from training.fitting.distributed import ProcessGroup, is_first
from training.fitting.model_factory import build_model
from training.fitting.ranking import evaluate_sums, inner_products, watched_split

SELECTED_ON = "recall@20"
CHECKPOINT = "checkpoint.pt"
MIXED_PRECISION = frozenset({"cuda"})
"""Types of devices on which most matrix products of a step are computed in bfloat16, by autocast;
parameters, propagation and the ranking loss have float32."""

M = TypeVar("M", bound=Trainable, default=DRepMRec)
Build = Callable[[Csr, dict[str, Modality], ModelConfig, torch.Generator, torch.device], M]


class DivergedError(DRepMRecError):
    """The loss is not finite."""


def fit_model(
    split: Split,
    modalities: dict[str, Modality],
    fingerprint: str,
    config: FitConfig,
    run: RunOptions,
    directory: Path,
    *,
    resume: bool = False,
    names: Names | None = None,
    warm: bool = False,
    after_epoch: Callable[[Progress], None] | None = None,
    build: Build[M] = build_model,  # type: ignore[assignment]  # the default of M fits
) -> tuple[M, Progress]:
    """Fit a model and return it in the state of its best valid recall@20.

    With `optim.averaging`, evaluated and returned are the averaged parameters.

    On the CPU the result is determined by data, configuration and seed, also across `resume`.
    Under `torchrun`, or in a process group that the caller has started, all processes fit the model
    together, each by a call of its own, and return the same one; the process of rank 0 writes and
    reports.

    Args:
        split: train is fitted, valid (at most `optim.valid_users` of it) decides when to stop.
        modalities: of the items, by name; empty for the behaviour line alone.
        fingerprint: identifies the data, and whatever else `build` depends on.
        config: hyper-parameters.
        run: device, threads and seed.
        directory: for the checkpoint and TensorBoard files.
        resume: continue from the checkpoint if there is one.
        names: ids of users and items, stored in the checkpoint.
        warm: start from the best parameters in the directory's checkpoint, possibly fitted on other
            data; needs `names`.
        after_epoch: called after each epoch.
        build: builder of the untrained model.

    Returns:
        The model and its progress.

    Raises:
        DivergedError: a loss term is not finite.
        InputError: `resume` with a checkpoint that does not match or that only some processes see,
            or `warm` without any; or the caller's process group does not fit the device.
    """
    if run.threads:
        torch.set_num_threads(run.threads)
    if run.device == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32 is precise enough for ranking
    with ProcessGroup.joined(run.device) as workers:
        generator = torch.Generator().manual_seed(run.seed)
        model = build(split.train, modalities, config.model, generator, workers.device)
        optimiser = torch.optim.Adam(
            model.parameters(),
            config.optim.learning_rate,
            weight_decay=config.optim.weight_decay,
        )
        directory.mkdir(parents=True, exist_ok=True)
        checkpoint, identity = directory / CHECKPOINT, _identity(fingerprint, config, run)
        progress = Progress()
        watched = watched_split(split, config.optim.valid_users, run.seed)
        if warm and names is not None and not resume:
            taken, of = warm_start(checkpoint, model, names)
            if is_first():
                tqdm.write(f"warm start: {taken} of {of} parameters copied", file=sys.stderr)
        average = ParameterAverage(model, config.optim.averaging)
        optimiser.register_step_post_hook(lambda *_: average.update())
        if resume and _has_checkpoint(checkpoint, workers):
            progress = load_checkpoint(checkpoint, identity, model, optimiser, average, generator)
        with _Record(directory, config, progress, is_first()) as record:
            while not _finished(progress, config):
                started, cpu_started = time.perf_counter(), time.process_time()
                terms = _epoch(model, optimiser, split, config, generator, workers, record)
                with average.applied():
                    valid = workers.from_first(lambda: evaluate_valid(model, watched))
                    workers.share_buffers(model)
                    progress.epoch += 1
                    took = {
                        "seconds": time.perf_counter() - started,
                        "cpu_seconds": time.process_time() - cpu_started,
                    }
                    progress.history.append(terms | valid | took)
                    if valid[SELECTED_ON] > progress.best.get(SELECTED_ON, -1.0):
                        progress.best_epoch, progress.best = progress.epoch, valid
                        state = model.state_dict()
                        progress.best_model = {k: v.cpu().clone() for k, v in state.items()}
                if is_first():
                    save_checkpoint(
                        checkpoint, identity, progress, model, optimiser, average, generator, names
                    )
                record.epoch(progress)
                if after_epoch:
                    after_epoch(progress)
    model.load_state_dict(progress.best_model)
    return model, progress


def _has_checkpoint(path: Path, workers: ProcessGroup) -> bool:
    """True if there is a checkpoint to resume from; without one, a line on stderr says so.

    All processes give the same answer: with different ones each would wait for the others.

    Raises:
        InputError: only some of the processes see the checkpoint.
    """
    seen = workers.count(path.is_file())
    if 0 < seen < workers.size:
        raise InputError(
            f"{path}: only {seen} of {workers.size} processes see this checkpoint; "
            "--run must be a folder that all of them share"
        )
    if not seen and is_first():
        tqdm.write(
            f"no checkpoint in {path.parent}: the fit starts from the beginning", file=sys.stderr
        )
    return seen > 0


def _identity(fingerprint: str, config: FitConfig, run: RunOptions) -> str:
    # A resumed fit may train longer than planned, but nothing else may differ.
    fixed = config.model_dump(mode="json", exclude={"optim": {"max_epochs", "patience"}})
    text = json.dumps([fingerprint, fixed, run.seed], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _finished(progress: Progress, config: FitConfig) -> bool:
    stale = progress.epoch - progress.best_epoch
    return progress.epoch >= config.optim.max_epochs or (
        progress.best_epoch > 0 and stale >= config.optim.patience
    )


def _epoch(
    model: Trainable,
    optimiser: torch.optim.Optimizer,
    split: Split,
    config: FitConfig,
    generator: torch.Generator,
    workers: ProcessGroup,
    record: "_Record",
) -> dict[str, float]:
    """Train for one epoch and return the mean of each loss term."""
    device = next(model.parameters()).device
    batches = epoch_batches(
        split.train, config, generator, workers.part, device, model.whole_histories
    )
    sums: dict[str, float] = {}
    model.train()
    model.begin_epoch(generator)
    for number, batch in enumerate(batches):
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type in MIXED_PRECISION):
            if isinstance(batch, HistoryBatch):
                terms = model.history_loss(batch)
            else:
                terms = model.loss(batch)
            loss = torch.stack([term.float() for term in terms.values()]).sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        workers.average_gradients(model)
        optimiser.step()
        values = {name: float(term.detach()) for name, term in terms.items()}
        values["loss"] = sum(values.values())
        if not values["loss"] < float("inf"):
            raise DivergedError(
                f"the loss is {values['loss']} in step {number + 1} of this epoch ({values}): "
                "lower optim.learning_rate, or look for extreme values in the features"
            )
        for name, value in values.items():
            sums[name] = sums.get(name, 0.0) + value / len(batches)
        record.step((number + 1) / len(batches), values["loss"])
    return sums


@torch.no_grad()
def evaluate_valid(model: Trainable, split: Split) -> dict[str, float]:
    """Metrics of valid, train excluded."""
    model.eval()

    def metrics(
        vectors: Vectors, added: Vectors | None = None, weights: Sequence[float] = (0.0,)
    ) -> list[dict[str, float]]:
        more = None if added is None else inner_products(*added)
        return evaluate_sums(inner_products(*vectors), more, weights, split.valid, split.train)

    return model.best_on_valid(metrics, SELECTED_ON)


class _Record:
    """Progress report: TensorBoard files, and a progress bar on a terminal or lines elsewhere.

    Args:
        directory: for the TensorBoard files.
        config: has the maximum number of epochs.
        progress: progress of the fit so far.
        wanted: False in processes of another rank than 0.
    """

    def __init__(
        self, directory: Path, config: FitConfig, progress: Progress, wanted: bool
    ) -> None:
        self._writer = None
        if wanted:
            self._writer = SummaryWriter(str(directory / "tensorboard"), purge_step=progress.epoch)
        self._terminal = sys.stderr.isatty()
        self._bar = tqdm(
            total=config.optim.max_epochs,
            initial=progress.epoch,
            unit="epoch",
            disable=not (self._terminal and wanted),
            bar_format="{desc} {percentage:3.0f}%|{bar}| {n:.1f}/{total} epochs at most, "
            "{elapsed}<{remaining}{postfix}",
        )
        self._done = float(progress.epoch)
        self._best = 0.0

    def __enter__(self) -> "_Record":
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()
        if self._writer:
            self._writer.close()

    def step(self, share: float, loss: float) -> None:
        """Report a step: the fraction of the epoch that is done, and the loss."""
        self._bar.set_postfix_str(f"loss {loss:.3f}, valid {SELECTED_ON} {self._best:.4f}")
        self._bar.update(self._done + share - self._bar.n)

    def epoch(self, progress: Progress) -> None:
        """Report a completed epoch."""
        self._done, self._best = progress.epoch, progress.best[SELECTED_ON]
        if not self._writer:
            return
        last = progress.history[-1]
        for name, value in last.items():
            self._writer.add_scalar(name, value, progress.epoch)
        if not self._terminal:
            tqdm.write(
                f"epoch {progress.epoch}: loss {last['loss']:.4f}, valid {SELECTED_ON} "
                f"{last[SELECTED_ON]:.4f} (best {self._best:.4f} in epoch "
                f"{progress.best_epoch}), {last['seconds']:.1f} s",
                file=sys.stderr,
            )
