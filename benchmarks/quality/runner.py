"""Runs: one model fitted and evaluated with one seed, stored so that no run is made twice.

A run's file name ends in a digest of everything that its result depends on apart from the code:
data, model, configuration, modalities, seed and device. Tables look runs up by that name.
"""

import gzip
import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.environment import hardware, versions
from benchmarks.quality.alignment_forms import build_with
from benchmarks.quality.bench import Bench
from benchmarks.quality.missing_modalities import lose_one_modality
from benchmarks.quality.plugin_bpr import plugged_in
from benchmarks.quality.tables import Job
from bundle.csr import Csr
from training.baselines.closed_form_search import EASE_GRID, IALS_GRID, fit_ease, fit_ials
from training.baselines.registry import BaselineName, as_backbone, plan_baseline
from training.baselines.simple import item_cf, popularity
from training.data.dataset import Modality, fingerprint
from training.data.split import Split
from training.evaluation.metrics import contained, pessimistic_hits
from training.fitting.batches import users_per_step
from training.fitting.config import FitConfig, RunOptions, load_config
from training.fitting.model_factory import build_model
from training.fitting.ranking import (
    Score,
    evaluate_scores,
    evaluate_users,
    inner_products,
    rank_all,
)
from training.fitting.trainer import CHECKPOINT, Build, fit_model

SUFFIX = ".json.gz"
WITHOUT_LEARNING = {"popularity": popularity, "item_cf": item_cf}
GRIDS = {"ease": EASE_GRID, "ials": IALS_GRID}
"""Values that the closed forms are chosen from."""
WITHOUT_PARAMETERS = {*WITHOUT_LEARNING, *GRIDS}
WITHOUT_CHANCE = {*WITHOUT_LEARNING, "ease"}
IDS_ALONE = {*WITHOUT_PARAMETERS, BaselineName.MF_BPR, BaselineName.LIGHTGCN_BPR}
KEPT = ("recall@20", "ndcg@20")
"""Metrics that a run stores for each user, for paired tests."""
LISTED = 20
"""Length of the lists of `hit_rates`."""
ITEM_GROUPS = {"≤ 7": (0, 8), "8–31": (8, 32), "≥ 32": (32, 2**31)}
"""Groups of items by the number of their train interactions. Most hits are on items of the last
group, so that recall@20 hardly sees what a model does for the others."""


@dataclass(frozen=True)
class Plan:
    """A job with every choice resolved; `identity` holds all that its result depends on."""

    config: FitConfig
    settings: dict[str, Any]
    modalities: dict[str, Modality]
    build: Build[Any]
    identity: dict[str, Any]

    @property
    def name(self) -> str:
        """Name of the run: model, seed and the digest of `identity`."""
        text = json.dumps(self.identity, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        model, seed = self.identity["model"].replace(":", "-"), self.identity["seed"]
        return f"{model}-seed{seed}-{digest}"


def plan(job: Job, seed: int, bench: Bench) -> Plan:
    """Resolve a job. Models without randomness ignore the seed."""
    baseline = job.model.rpartition(":")[2]
    assignments = (*bench.shared, *job.assignments)
    settings: dict[str, Any] = {}
    build: Build[Any] = build_model
    given = tuple(text for name, text in bench.baselines if name == baseline)
    if job.model in WITHOUT_PARAMETERS:
        config = load_config(None, list(bench.shared))
        if job.model in GRIDS:
            settings = {"columns": job.columns, "grid": GRIDS[job.model]}
        seed = 0 if job.model in WITHOUT_CHANCE else seed
    elif job.model in set(BaselineName):
        found = plan_baseline(BaselineName(baseline), (*bench.shared, *given, *job.assignments))
        config, settings, build = found.config, found.settings.model_dump(), found.build
    elif job.model.startswith("with:"):
        assert job.form is not None
        found = plan_baseline(BaselineName(baseline), (*bench.shared, *given, *job.assignments))
        config, build = found.config, plugged_in(found, *job.form)
        settings = found.settings.model_dump() | {"contrasted": job.form[0], "weight": job.form[1]}
    else:
        config = load_config(None, [*bench.ours, *assignments])
        if job.model != "drepmrec":
            found = plan_baseline(BaselineName(baseline), (*bench.shared, *given))
            build = as_backbone(found, job.modal_line)
            settings = found.settings.model_dump() | {"modal_line": job.modal_line}
        elif job.form is not None:
            build = build_with(*job.form)
            settings = dict(zip(("form", "weight"), job.form, strict=True))
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
        "config": _named(config, job, bench),
        "settings": settings,
        "modalities": names,
        "lost": job.lost if names else 0.0,
        "seed": seed,
        "device": bench.device,
    }
    if job.model in WITHOUT_PARAMETERS:  # neither content nor hyper-parameters of a model matter
        data = bench.dataset
        identity["data"] = fingerprint(data.users, data.items, data.interactions, {})
        split = config.model_dump(mode="json", include={"split", "min_weight"})
        identity["config"] = {"model": {}} | split
    return Plan(config, settings, chosen, build, identity)


def _named(config: FitConfig, job: Job, bench: Bench) -> dict[str, Any]:
    """The configuration without newer keys that change nothing: older runs are still valid."""
    keys = config.model_dump(mode="json")
    if not config.optim.averaging:
        del keys["optim"]["averaging"]
    if np.count_nonzero(bench.split.valid.lengths) <= config.optim.valid_users:
        del keys["optim"]["valid_users"]  # all users are evaluated
    if job.model != "drepmrec" or not config.model.linear_columns:
        for key in ("linear_columns", "linear_l2", "linear_dropout"):
            del keys["model"][key]
    if job.model != "drepmrec" or not config.model.whole_histories:
        del keys["model"]["history_parts"], keys["model"]["history_discount"]
        del keys["optim"]["batch_users"], keys["optim"]["max_steps"]
    elif users_per_step(bench.split.train, config) == config.optim.batch_users:
        del keys["optim"]["max_steps"]  # there are fewer steps anyway
    return keys


def stored(job: Job, seed: int, bench: Bench) -> dict[str, Any] | None:
    """The stored run of a job with a seed, with its name as `run`; None where there is none.

    It is found in the folder of any data set: the digest in its name covers the data.
    """
    name = plan(job, seed, bench).name
    file = next(bench.runs.glob(f"*/{name}{SUFFIX}"), None)
    return None if file is None else {**read(file), "run": name}


def read(file: Path) -> dict[str, Any]:
    """Contents of a run's file."""
    contents: dict[str, Any] = json.loads(gzip.decompress(file.read_bytes()))
    return contents


def run(job: Job, seed: int, bench: Bench) -> dict[str, Any]:
    """The stored run of a job with a seed; made and stored where there is none."""
    found = stored(job, seed, bench)
    if found is not None:
        return found
    planned = plan(job, seed, bench)
    directory = bench.runs / bench.name
    score, about = _fitted(job, planned, bench, directory / planned.name)
    split = bench.split
    users = evaluate_users(score, split.test, split.train)
    result = planned.identity | about
    result |= {
        "valid": evaluate_scores(score, split.valid, split.train),
        "test": evaluate_scores(score, split.test, split.train),
        "users": {name: np.round(users[name], 6).tolist() for name in KEPT},
        "hit_rates": hit_rates(score, split),
        "versions": versions(),
        "hardware": hardware(),
    }
    directory.mkdir(parents=True, exist_ok=True)
    temporary = directory / f"{planned.name}.new"
    temporary.write_bytes(gzip.compress(json.dumps(result).encode(), mtime=0))
    temporary.replace(directory / f"{planned.name}{SUFFIX}")
    shutil.rmtree(directory / planned.name, ignore_errors=True)
    return result | {"run": planned.name}


def hit_rates(score: Score, split: Split) -> dict[str, float]:
    """Shares of the test pairs that are in the user's top 20, by the item's train interactions."""
    users = np.flatnonzero(split.test.lengths).astype(np.int64)
    item_idx, scores = rank_all(score, users, split.train, LISTED + 1)
    rows, cols = split.test.select(users).pairs()
    counts = split.train.column_counts()[cols]
    rates = {}
    for name, (low, high) in ITEM_GROUPS.items():
        inside = (counts >= low) & (counts < high)
        group = Csr.from_pairs(rows[inside], cols[inside], len(users), split.test.n_cols)
        hits = pessimistic_hits(item_idx, scores, contained(group, item_idx))
        rates[name] = float(hits.sum() / max(group.nnz, 1))
    return rates


def _fitted(job: Job, planned: Plan, bench: Bench, directory: Path) -> tuple[Score, dict[str, Any]]:
    """The fitted model's scores and what the fit took; checkpoints go to the directory."""
    if job.model in WITHOUT_LEARNING:
        return WITHOUT_LEARNING[job.model](bench.split.train), {"epochs": 0, "seconds": 0.0}
    if job.model in GRIDS:
        return _closed_form(job, planned, bench)
    model, progress = fit_model(
        bench.split,
        planned.modalities,
        planned.name,
        planned.config,
        RunOptions.model_validate(
            {"seed": planned.identity["seed"], "device": bench.device, "threads": bench.threads}
        ),
        directory,
        resume=(directory / CHECKPOINT).is_file(),
        build=planned.build,
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
        "cpu_seconds": sum(epoch["cpu_seconds"] for epoch in progress.history),
    }


def _closed_form(job: Job, planned: Plan, bench: Bench) -> tuple[Score, dict[str, Any]]:
    """EASE or iALS with the hyper-parameters that valid chose, and what this one fit took."""
    if bench.threads:
        torch.set_num_threads(bench.threads)
    if job.model == "ease":
        chosen = {"l2": bench.ease_l2[job.columns]}
        fitted = fit_ease(bench.split, chosen["l2"], job.columns)
    else:
        assert job.columns is not None
        chosen = dict(zip(("alpha", "l2"), bench.ials_choice, strict=True))
        fitted = fit_ials(bench.split, job.columns, **chosen, seed=planned.identity["seed"])
    return fitted.score, {
        "width": job.columns,
        "chosen": chosen,
        "epochs": fitted.epochs,
        "best_epoch": fitted.best_epoch,
        "seconds": fitted.seconds,
        "cpu_seconds": fitted.cpu_seconds,
    }
