"""Export of a fitted model as the contents of a bundle."""

import platform
from typing import Any

import faiss
import numpy as np
import torch

from bundle.csr import Csr
from bundle.format.writer import BundleContents
from bundle.onnx_runtime import runtime
from bundle.sorted_sets import unique
from bundle.types import Floats
from models.drepmrec import LINEAR, DRepMRec
from training.data.dataset import Dataset, Interactions
from training.data.split import Split
from training.export.encoder_fitting import (
    ColumnGroup,
    FusedVectors,
    encoded_users,
    encoder_sample,
    export_item_encoder,
    export_user_encoder,
    fit_item_encoder,
    fit_user_encoder,
    parity,
)
from training.fitting.checkpoint import Progress
from training.fitting.config import FitConfig, RunOptions
from training.fitting.ranking import watched_users


@torch.no_grad()
def fused_vectors(model: DRepMRec, split: Split) -> FusedVectors:
    """Vectors to serve, with the columns of each line and modality.

    Users without train interactions get zeros: vectors from untrained embeddings are noise.
    """
    model.eval()
    vectors = model()
    users = vectors.users.cpu().numpy().copy()
    users[split.train.lengths == 0] = 0
    lines = {name: line.items for name, line in model.lines().items()}
    columns, blocks, start = [], [], 0
    for group in model.groups(lines):
        stop = start + group.vector().shape[1]
        columns.append(ColumnGroup(start, stop, group.weight, list(group.members)))
        blocks += list(group.parts().values())
        start = stop
    if model.linear is not None and model.linear.used:
        linear = model.linear()
        columns.append(ColumnGroup(start, start + linear.shape[1], None, [LINEAR]))
        blocks.append(linear)
        start += linear.shape[1]
    if model.bias is not None:
        blocks.append(vectors.items[:, start:])
    return FusedVectors(
        users=users,
        items=vectors.items.cpu().numpy(),
        item_parts=torch.cat(blocks, 1).cpu().numpy(),
        columns=columns,
        folds_in=model.folds_in,
        popularity=model.bias is not None,
    )


def make_contents(
    model: DRepMRec,
    progress: Progress,
    dataset: Dataset,
    split: Split,
    config: FitConfig,
    run: RunOptions,
    parent_version: str | None,
) -> BundleContents:
    """Contents of a bundle: vectors, encoders, ids, seen items and the report of the fit.

    Only train interactions count as seen, so that valid and test items can be recommended. Users
    with dislikes get the vector that the same history would have as events.
    """
    vectors = fused_vectors(model, split)
    # A modality given by its graph only cannot encode new items.
    modalities = {name: m for name, m in dataset.modalities.items() if m.has_features}
    widths = {name: m.features.shape[1] for name, m in modalities.items()}
    item_encoder = fit_item_encoder(vectors, modalities, split.train)
    user_encoder = fit_user_encoder(vectors, split.train)
    sample = encoder_sample(
        item_encoder,
        user_encoder,
        vectors,
        modalities,
        split.train,
        np.random.default_rng(run.seed),
    )
    item_onnx = export_item_encoder(item_encoder, list(widths))
    user_onnx = export_user_encoder(user_encoder, vectors.items.shape[1])
    differences = parity(item_onnx, user_onnx, sample, widths)
    seen, seen_weights = histories(split.train, dataset.dislikes)
    if dataset.dislikes is not None:
        users = unique(dataset.dislikes.user_idx)
        vectors.users[users] = encoded_users(user_onnx, vectors.items, seen, seen_weights, users)
    return BundleContents(
        users=dataset.users,
        items=dataset.items,
        user_vectors=vectors.users,
        item_vectors=vectors.items,
        parts=vectors.parts,
        item_parts=vectors.item_parts,
        modalities=widths,
        seen=seen,
        seen_weights=seen_weights,
        item_table=dataset.item_table,
        user_encoder=user_onnx,
        item_encoder=item_onnx,
        encoder_sample=sample,
        config=config.model_dump(mode="json") | {"run": run.model_dump(mode="json")},
        report=_report(model, progress, split, config, differences),
        data_fingerprint=dataset.fingerprint,
        parent_version=parent_version,
    )


def histories(likes: Csr, dislikes: Interactions | None) -> tuple[Csr, Floats]:
    """Likes with weight 1 and dislikes with theirs: users × items, and the weights [nnz]."""
    if dislikes is None or dislikes.weight is None:
        return likes, np.ones(likes.nnz, np.float32)
    user_idx, item_idx = likes.pairs()
    users = np.concatenate([user_idx, dislikes.user_idx])
    items = np.concatenate([item_idx, dislikes.item_idx])
    weights = np.concatenate([np.ones(likes.nnz, np.float32), dislikes.weight])
    both = Csr.from_pairs(users, items, likes.n_rows, likes.n_cols)
    return both, weights[np.lexsort((items, users))]


def _report(
    model: DRepMRec,
    progress: Progress,
    split: Split,
    config: FitConfig,
    differences: dict[str, float],
) -> dict[str, Any]:
    evaluated, users = watched_users(split, config.optim.valid_users)
    return {
        "modality_weights": model.modality_weights,
        "linear_weight": None if model.linear is None else float(model.linear.weight),
        "valid": progress.best,
        "valid_users": {"evaluated": evaluated, "of": users},
        "best_epoch": progress.best_epoch,
        "history": progress.history,
        "split": split.how,
        "onnx_max_abs_difference": differences,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "onnxruntime": runtime().__version__,
            "faiss": faiss.__version__,
            "numpy": np.__version__,
        },
    }
