"""From a fitted model to the contents of a bundle."""

import platform
from typing import Any

import faiss
import numpy as np
import torch

from bundle.contents import BundleContents
from bundle.onnx import VERSION as ONNXRUNTIME_VERSION
from models.drepmrec import DRepMRec
from training.checkpoint import Progress
from training.config import FitConfig, RunOptions
from training.dataset import Dataset
from training.encoders import (
    Columns,
    FusedVectors,
    encoder_sample,
    export_item_encoder,
    export_user_encoder,
    fit_item_encoder,
    fit_user_encoder,
    parity,
)
from training.split import Split


@torch.no_grad()
def fused_vectors(model: DRepMRec, split: Split) -> FusedVectors:
    """The vectors that are served, with the columns of each line and modality.

    A user without train interactions gets zeros: what a model makes of an embedding that nothing
    ever moved is noise.
    """
    model.eval()
    vectors = model()
    users = vectors.users.cpu().numpy().copy()
    users[split.train.lengths == 0] = 0
    lines = {name: line.items for name, line in model.lines().items()}
    columns, blocks, start = [], [], 0
    for group in model.groups(lines):
        stop = start + group.vector().shape[1]
        columns.append(Columns(start, stop, group.weight, list(group.members)))
        blocks += list(group.parts().values())
        start = stop
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
    """Vectors, encoders, ids, seen items and the report of a fit.

    What counts as seen are the train interactions, so that valid and test can be asked for.
    """
    vectors = fused_vectors(model, split)
    # A modality that is known by its neighbours alone says nothing about a new item.
    modalities = {name: m for name, m in dataset.modalities.items() if m.features.shape[1]}
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
    return BundleContents(
        users=dataset.users,
        items=dataset.items,
        user_vectors=vectors.users,
        item_vectors=vectors.items,
        parts=vectors.parts,
        item_parts=vectors.item_parts,
        modalities=widths,
        seen=split.train,
        item_table=dataset.item_table,
        user_encoder=user_onnx,
        item_encoder=item_onnx,
        encoder_sample=sample,
        config=config.model_dump(mode="json") | {"run": run.model_dump(mode="json")},
        report=_report(model, progress, split, differences),
        data_fingerprint=dataset.fingerprint,
        parent_version=parent_version,
    )


def _report(
    model: DRepMRec, progress: Progress, split: Split, differences: dict[str, float]
) -> dict[str, Any]:
    return {
        "modality_weights": model.modality_weights,
        "valid": progress.best,
        "best_epoch": progress.best_epoch,
        "history": progress.history,
        "split": split.how,
        "onnx_max_abs_difference": differences,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "onnxruntime": ONNXRUNTIME_VERSION,
            "faiss": faiss.__version__,
            "numpy": np.__version__,
        },
    }
