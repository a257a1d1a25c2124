"""Baselines of `evaluate`: popularity, item-based collaborative filtering, EASE, iALS, LightGCN."""

import tempfile
from pathlib import Path

import numpy as np
import scipy.sparse
import torch

from bundle.csr import Csr
from training.baselines.closed_form_search import (
    IALS_COLUMNS,
    choose_ease,
    choose_ials,
    fit_ease,
    fit_ials,
)
from training.data.scipy_matrix import as_scipy
from training.data.split import Split
from training.evaluation.metrics import DEFAULT_KS
from training.fitting.config import FitConfig, RunOptions, SimpleBaseline
from training.fitting.ranking import Score, evaluate_scores
from training.fitting.trainer import fit_model


def evaluate_baseline(
    name: SimpleBaseline,
    split: Split,
    relevant: Csr,
    config: FitConfig,
    run: RunOptions,
    fingerprint: str,
    ks: tuple[int, ...] = DEFAULT_KS,
) -> dict[str, float]:
    """Fit one baseline and compute its metrics, with the protocol used for DRepMRec.

    Args:
        name: the baseline.
        split: train is fitted and masked; valid decides when fits stop, and chooses the
            hyper-parameters of EASE and iALS.
        relevant: users × items of the evaluated part.
        config, run, fingerprint: for LightGCN's fit, see `training.fitting.trainer.fit_model`; it
            uses no modality. The seed and threads of `run` are iALS's, too.
        ks: cut-offs.
    """
    if run.threads:
        torch.set_num_threads(run.threads)
    match name:
        case SimpleBaseline.POPULARITY:
            score = popularity(split.train)
        case SimpleBaseline.ITEM_CF:
            score = item_cf(split.train)
        case SimpleBaseline.EASE:
            l2 = choose_ease(split, [None])[None]
            score = fit_ease(split, l2, None).score
        case SimpleBaseline.IALS:
            choice = choose_ials(split, run.seed)
            score = fit_ials(split, IALS_COLUMNS, *choice, run.seed).score
        case SimpleBaseline.LIGHTGCN:
            score = _lightgcn(split, config, run, fingerprint)
    return evaluate_scores(score, relevant, split.train, ks)


def popularity(train: Csr) -> Score:
    """Popularity: scores [b, I] are the items' numbers of train interactions."""
    counts = torch.from_numpy(train.column_counts()).float()
    return lambda users: counts.repeat(len(users), 1)


def item_cf(train: Csr) -> Score:
    """Item-based collaborative filtering: scores [b, I] sum an item's similarities to the history.

    Deshpande & Karypis 2004, eq. 5, with all items as neighbours: sim(i → j) = Σ_u w_u /
    (freq(i)^0.9 · freq(j)^0.1 + 5) over the users of both, with user weights w_u = 1/|history| and
    freq summed with the same weights. Plain cosine is much worse if few users hold most of the
    interactions; exponents and shrinkage are the best on TikTok's valid part.
    """
    interactions = as_scipy(train)
    shares = scipy.sparse.diags_array(1 / np.maximum(train.lengths, 1).astype(np.float32))
    together = (interactions.T @ shares @ interactions).tocoo()
    frequency = together.diagonal()
    of, to = together.coords
    scale = frequency[of] ** 0.9 * frequency[to] ** 0.1 + 5
    values = np.where(of == to, 0, together.data / scale).astype(np.float32)
    similarity = scipy.sparse.csr_matrix((values, (of, to)), shape=together.shape)
    return lambda users: torch.from_numpy((interactions[users] @ similarity).toarray())


def _lightgcn(split: Split, config: FitConfig, run: RunOptions, fingerprint: str) -> Score:
    only = {
        "backbone": "lightgcn",
        "intra_alignment": 0.0,
        "item_bias": False,
        "linear_columns": 0,
    }
    alone = config.model.model_copy(update=only)
    with tempfile.TemporaryDirectory() as directory:
        config = config.model_copy(update={"model": alone})
        model, _ = fit_model(split, {}, fingerprint, config, run, Path(directory))
    with torch.no_grad():
        vectors = model()
    return lambda users: vectors.users[torch.from_numpy(users)] @ vectors.items.T
