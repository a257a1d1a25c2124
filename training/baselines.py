"""What a model has to be better than: popularity, item-to-item filtering, LightGCN on ids alone."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from torch import Tensor

from bundle.csr import Csr
from training.config import Baseline, FitConfig, RunOptions
from training.fit import fit
from training.metrics import DEFAULT_KS
from training.ranking import evaluate_scores
from training.split import Split


def evaluate_baseline(
    name: Baseline,
    split: Split,
    relevant: Csr,
    config: FitConfig,
    run: RunOptions,
    fingerprint: str,
    ks: tuple[int, ...] = DEFAULT_KS,
) -> dict[str, float]:
    """Metrics of one baseline, fitted on train with the same split, masking and treatment of ties.

    Args:
        name: which one.
        split: its train part is fitted and masked; valid stops LightGCN's fit.
        relevant: users × items of the part that is evaluated.
        config, run, fingerprint: of LightGCN's fit, see `training.fit.fit`; no modality is used.
        ks: cut-offs.
    """
    match name:
        case Baseline.POPULARITY:
            score = popularity(split.train)
        case Baseline.ITEM_CF:
            score = item_cf(split.train)
        case Baseline.LIGHTGCN:
            score = _lightgcn(split, config, run, fingerprint)
    return evaluate_scores(score, relevant, split.train, ks)


def popularity(train: Csr) -> Callable[[NDArray[np.int64]], Tensor]:
    """Scores [b, I]: the number of train interactions of each item."""
    counts = torch.from_numpy(train.column_counts()).float()
    return lambda users: counts.repeat(len(users), 1)


def item_cf(train: Csr) -> Callable[[NDArray[np.int64]], Tensor]:
    """Scores [b, I]: summed similarity of each item to those of the history.

    Deshpande & Karypis 2004, eq. 5, with all items as neighbours: sim(i → j) = Σ_u w_u /
    (freq(i)^0.9 · freq(j)^0.1 + 5) over the users of both, where a user counts w_u = 1/|history|
    and freq is summed in the same way. Plain cosine does much worse where a few users hold most of
    the interactions; the exponents and the shrinkage are the best on TikTok's valid part.
    """
    interactions = scipy.sparse.csr_matrix(
        (np.ones(train.nnz, np.float32), train.indices, train.indptr),
        shape=(train.n_rows, train.n_cols),
    )
    shares = scipy.sparse.diags_array(1 / np.maximum(train.lengths, 1).astype(np.float32))
    together = (interactions.T @ shares @ interactions).tocoo()
    frequency = together.diagonal()
    of, to = together.coords
    scale = frequency[of] ** 0.9 * frequency[to] ** 0.1 + 5
    values = np.where(of == to, 0, together.data / scale).astype(np.float32)
    similarity = scipy.sparse.csr_matrix((values, (of, to)), shape=together.shape)
    return lambda users: torch.from_numpy((interactions[users] @ similarity).toarray())


def _lightgcn(
    split: Split, config: FitConfig, run: RunOptions, fingerprint: str
) -> Callable[[NDArray[np.int64]], Tensor]:
    only = {"backbone": "lightgcn", "intra_alignment": 0.0, "item_bias": False}
    alone = config.model.model_copy(update=only)
    with tempfile.TemporaryDirectory() as directory:
        config = config.model_copy(update={"model": alone})
        model, _ = fit(split, {}, fingerprint, config, run, Path(directory))
    with torch.no_grad():
        vectors = model()
    return lambda users: vectors.users[torch.from_numpy(users)] @ vectors.items.T
