"""Fit and evaluate one model with one seed, once: what is done is on disk and is not done again."""

import gzip
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import hardware
from provenance import versions
from quality_jobs import Job

from training.baselines import item_cf, popularity
from training.config import FitConfig, RunOptions, load_config
from training.dataset import Dataset, Modality
from training.fit import CHECKPOINT, Build, fit
from training.missing import lose_one_modality
from training.ranking import evaluate_scores, evaluate_users, inner_products
from training.rivals import RivalName, as_backbone, plan_rival
from training.split import Split

Score = Callable[[Any], torch.Tensor]
WITHOUT_LEARNING = {"popularity": popularity, "item_cf": item_cf}
IDS_ALONE = {*WITHOUT_LEARNING, RivalName.MF_BPR, RivalName.LIGHTGCN_BPR}
KEPT = ("recall@20", "ndcg@20")
"""Metrics that are kept for each user."""


@dataclass(frozen=True)
class Bench:
    """What the runs of a table share.

    Attributes:
        dataset, split: of all runs.
        results: directory with a file for each run.
        ours: assignments for DRepMRec.
        rivals: assignments for each rival.
        everybody: assignments for all of them, such as how to split.
        threads: CPU threads, 0 for as many as torch finds.
        device: where models are fitted.
    """

    dataset: Dataset
    split: Split
    results: Path
    ours: tuple[str, ...] = ()
    rivals: tuple[tuple[str, str], ...] = ()
    everybody: tuple[str, ...] = ()
    threads: int = 0
    device: str = "cpu"


@dataclass(frozen=True)
class Plan:
    """A job with every choice resolved; `identity` names all that its result depends on."""

    config: FitConfig
    settings: dict[str, Any]
    modalities: dict[str, Modality]
    build: Build[Any] | None
    identity: dict[str, Any]

    @property
    def name(self) -> str:
        """Of the result's file."""
        text = json.dumps(self.identity, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        return f"{self.identity['model'].replace(':', '-')}-{digest}"


def plan(job: Job, seed: int, bench: Bench) -> Plan:
    """Resolve a job; a model without chance ignores the seed."""
    rival = job.model.removeprefix("on:")
    assignments = (*bench.everybody, *job.assignments)
    settings: dict[str, Any] = {}
    build: Build[Any] | None = None
    of_rival = tuple(text for name, text in bench.rivals if name == rival)
    if job.model in WITHOUT_LEARNING:
        config, seed = load_config(None, list(bench.everybody)), 0
    elif job.model in set(RivalName):
        found = plan_rival(RivalName(rival), (*bench.everybody, *of_rival, *job.assignments))
        config, settings, build = found.config, found.settings.model_dump(), found.build
    else:
        config = load_config(None, [*bench.ours, *assignments])
        if job.model != "drepmrec":
            found = plan_rival(RivalName(rival), (*bench.everybody, *of_rival))
            build = as_backbone(found, job.modal_line)
            settings = found.settings.model_dump() | {"modal_line": job.modal_line}
    if job.model in IDS_ALONE or (job.model == "drepmrec" and not job.modal_line):
        names: list[str] = []
    else:
        wanted = bench.dataset.modalities if job.modalities is None else job.modalities
        names = [name for name in bench.dataset.modalities if name in wanted]
    chosen = {name: bench.dataset.modalities[name] for name in names}
    if job.lost and chosen:
        chosen = lose_one_modality(chosen, job.lost, np.random.default_rng(seed))
    identity = {
        "data": bench.dataset.fingerprint,
        "model": job.model,
        "config": config.model_dump(mode="json"),
        "settings": settings,
        "modalities": names,
        "lost": job.lost if names else 0.0,
        "seed": seed,
        "device": bench.device,
    }
    return Plan(config, settings, chosen, build, identity)


def stored(job: Job, seed: int, bench: Bench) -> dict[str, Any] | None:
    """The result of a job with a seed, None if there is none yet."""
    file = _file(plan(job, seed, bench), bench)
    return json.loads(gzip.decompress(file.read_bytes())) if file.is_file() else None


def _file(planned: Plan, bench: Bench) -> Path:
    return bench.results / f"{planned.name}.json.gz"


def run(job: Job, seed: int, bench: Bench) -> dict[str, Any]:
    """The same, made and written where there is none."""
    found = stored(job, seed, bench)
    if found is not None:
        return found
    planned = plan(job, seed, bench)
    file = _file(planned, bench)
    score, about = _fitted(job, planned, bench)
    split = bench.split
    users = evaluate_users(score, split.test, split.train)
    result = planned.identity | about
    result |= {
        "valid": evaluate_scores(score, split.valid, split.train),
        "test": evaluate_scores(score, split.test, split.train),
        "users": {name: np.round(users[name], 6).tolist() for name in KEPT},
        "versions": versions(),
        "hardware": hardware(),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".new")
    temporary.write_bytes(gzip.compress(json.dumps(result).encode(), mtime=0))
    temporary.replace(file)
    shutil.rmtree(bench.results / planned.name, ignore_errors=True)
    return result


def _fitted(job: Job, planned: Plan, bench: Bench) -> tuple[Score, dict[str, Any]]:
    if job.model in WITHOUT_LEARNING:
        return WITHOUT_LEARNING[job.model](bench.split.train), {"epochs": 0, "seconds": 0.0}
    directory = bench.results / planned.name
    model, progress = fit(
        bench.split,
        planned.modalities,
        planned.name,
        planned.config,
        RunOptions.model_validate(
            {"seed": planned.identity["seed"], "device": bench.device, "threads": bench.threads}
        ),
        directory,
        resume=(directory / CHECKPOINT).is_file(),
        **({} if planned.build is None else {"build": planned.build}),
    )
    model.eval()
    with torch.no_grad():
        vectors = model()
    return inner_products(vectors.users, vectors.items), {
        "width": vectors.items.shape[1],
        "parameters": sum(p.numel() for p in model.parameters()),
        "epochs": progress.epoch,
        "best_epoch": progress.best_epoch,
        "seconds": sum(epoch["seconds"] for epoch in progress.history),
    }
