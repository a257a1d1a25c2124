"""The outer loop: epochs, early stopping on valid, checkpoints."""

import hashlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils.tensorboard.writer import SummaryWriter
from tqdm import tqdm
from typing_extensions import TypeVar

from bundle.csr import Csr
from bundle.errors import DRepMRecError
from models.config import ModelConfig
from models.drepmrec import Batch, DRepMRec
from models.rivals.base import Rival
from training.build import build_model
from training.checkpoint import Names, Progress, load_checkpoint, save_checkpoint, warm_start
from training.config import FitConfig, RunOptions
from training.dataset import Modality
from training.ranking import evaluate_vectors
from training.split import Split
from training.workers import Workers, is_first

SELECTED_ON = "recall@20"
CHECKPOINT = "checkpoint.pt"

M = TypeVar("M", bound=DRepMRec | Rival, default=DRepMRec)
Build = Callable[[Csr, dict[str, Modality], ModelConfig, torch.Generator, torch.device], M]


class DivergedError(DRepMRecError):
    """The loss is no number any more."""


def fit(
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
    """Fit a model and return it as it was when valid recall@20 was best.

    On the CPU the result depends on data, configuration and seed alone, also across a `resume`.
    Under `torchrun` all its processes fit the model together and return the same one; the first
    writes and reports.

    Args:
        split: train is fitted, valid decides when to stop.
        modalities: of the items, by name; none for the behaviour line alone.
        fingerprint: of the data set.
        config: hyper-parameters.
        run: device, threads and seed.
        directory: gets the checkpoint and TensorBoard's files.
        resume: go on from the checkpoint.
        names: of users and items, which the checkpoint keeps.
        warm: begin with what the directory's checkpoint learned, perhaps from other data; with
            `names` only.
        after_epoch: called after each epoch, e.g. to report.
        build: makes the untrained model; a rival's says in `fingerprint` what else it depends on.

    Raises:
        DivergedError: a loss term is not finite.
        InputError: `resume` without a checkpoint that fits, or `warm` without any.
    """
    if run.threads:
        torch.set_num_threads(run.threads)
    if run.device == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32: as exact as ranking needs
    with Workers.joined(run.device) as workers:
        generator = torch.Generator().manual_seed(run.seed)
        device = workers.device(run.device)
        model = build(split.train, modalities, config.model, generator, device)
        optimiser = torch.optim.Adam(
            model.parameters(), config.optim.learning_rate, weight_decay=config.optim.weight_decay
        )
        directory.mkdir(parents=True, exist_ok=True)
        checkpoint, identity = directory / CHECKPOINT, _identity(fingerprint, config, run)
        progress = Progress()
        if resume:
            progress = load_checkpoint(checkpoint, identity, model, optimiser, generator)
        elif warm and names is not None:
            taken, of = warm_start(checkpoint, model, names)
            if is_first():
                tqdm.write(f"begins with {taken} of {of} parameters", file=sys.stderr)
        with _Record(directory, config, progress, is_first()) as record:
            while not _finished(progress, config):
                started = time.perf_counter()
                terms = _epoch(model, optimiser, split, config, generator, workers, record)
                valid = workers.from_first(lambda: _evaluate(model, split))
                progress.epoch += 1
                seconds = time.perf_counter() - started
                progress.history.append(terms | valid | {"seconds": seconds})
                if valid[SELECTED_ON] > progress.best.get(SELECTED_ON, -1.0):
                    progress.best_epoch, progress.best = progress.epoch, valid
                    state = model.state_dict()
                    progress.best_model = {k: v.cpu().clone() for k, v in state.items()}
                if is_first():
                    save_checkpoint(
                        checkpoint, identity, progress, model, optimiser, generator, names
                    )
                record.epoch(progress)
                if after_epoch:
                    after_epoch(progress)
    model.load_state_dict(progress.best_model)
    return model, progress


def _identity(fingerprint: str, config: FitConfig, run: RunOptions) -> str:
    # How long to train may change between a fit and its resumption; what is trained may not.
    fixed = config.model_dump(mode="json", exclude={"optim": {"max_epochs", "patience"}})
    text = json.dumps([fingerprint, fixed, run.seed], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _finished(progress: Progress, config: FitConfig) -> bool:
    stale = progress.epoch - progress.best_epoch
    return progress.epoch >= config.optim.max_epochs or (
        progress.best_epoch > 0 and stale >= config.optim.patience
    )


def _epoch(
    model: DRepMRec | Rival,
    optimiser: torch.optim.Optimizer,
    split: Split,
    config: FitConfig,
    generator: torch.Generator,
    workers: Workers,
    record: "_Record",
) -> dict[str, float]:
    """One pass over the train interactions; the mean of each loss term."""
    user_idx, item_idx = (torch.from_numpy(idx).long() for idx in split.train.pairs())
    device = next(model.parameters()).device
    order = torch.randperm(len(user_idx), generator=generator)
    steps = torch.split(order, config.optim.batch_size)
    sums: dict[str, float] = {}
    model.train()
    if isinstance(model, Rival):
        model.begin_epoch(generator)
    for number, step in enumerate(steps):
        negatives = torch.randint(
            split.train.n_cols, (config.model.negatives,), generator=generator
        )
        mine = workers.part(step)
        batch = Batch(*(x.to(device) for x in (user_idx[mine], item_idx[mine], negatives)))
        terms = model.loss(batch)
        loss = torch.stack(list(terms.values())).sum()
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
            sums[name] = sums.get(name, 0.0) + value / len(steps)
        record.step((number + 1) / len(steps), values["loss"])
    return sums


@torch.no_grad()
def _evaluate(model: DRepMRec | Rival, split: Split) -> dict[str, float]:
    model.eval()
    vectors = model()
    return evaluate_vectors(vectors.users, vectors.items, split.valid, split.train)


class _Record:
    """TensorBoard's files, and a bar with loss, valid recall and ETA on a terminal, else lines.

    Args:
        directory: gets the files.
        config: how many epochs there may be.
        progress: where the fit stands.
        wanted: False for processes that only help.
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
        """Part of an epoch is done."""
        self._bar.set_postfix_str(f"loss {loss:.3f}, valid {SELECTED_ON} {self._best:.4f}")
        self._bar.update(self._done + share - self._bar.n)

    def epoch(self, progress: Progress) -> None:
        """An epoch is done."""
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
