"""Item and user encoders of a bundle: fitted to the trained vectors and exported as ONNX."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import bundle.format.encoders
from bundle.csr import Csr
from bundle.events.history import encode_histories
from bundle.format.manifest import POPULARITY, Part
from bundle.format.writer import EncoderSample
from bundle.types import Floats, Rows
from models.drepmrec import BEHAVIOUR, LINEAR
from models.encoders import ItemEncoder, UserEncoder, ridge
from models.graphs import history_mean
from training.data.dataset import Modality
from training.export.onnx_export import export_onnx

RIDGE = 1e-3
"""Regularisation of both maps, relative to the inputs' mean square."""
GUESSED_BEHAVIOUR = 0.5
"""Norm of a new item's behaviour part, relative to known items: it is only estimated from content.
Better than 0 and 1 on held-out items of TikTok's and Baby's valid parts;
benchmarks/quality/cold_start measures the effect."""
NEWCOMER = 0.07
"""Bonus on a new item's score, added to the mean popularity part, because an estimated vector
matches users less well than a trained one. With it known items keep 0.99 of their recall on TikTok
and 0.96 on Baby (docs/results)."""
SAMPLE = 64
"""Number of items and of users in the sample that loaded encoders must reproduce."""
SAMPLE_HISTORY = 16
"""Maximum history length in the sample."""


@dataclass(frozen=True)
class ColumnGroup:
    """Columns start ≤ d < stop of the fused vectors, shared by some lines or modalities.

    Attributes:
        start, stop: the columns.
        length: norm of the vector in these columns; None for the linear part, whose vectors have
            lengths of their own.
        names: names of the lines and modalities.
    """

    start: int
    stop: int
    length: float | None
    names: list[str]


@dataclass(frozen=True)
class FusedVectors:
    """Trained vectors and the meaning of their columns.

    Attributes:
        users: [U, D]; zero for users without train interactions.
        items: [I, D].
        item_parts: [I, ΣW] contributions of each line, each modality and popularity to its columns.
        columns: column groups of lines and modalities, without the popularity part.
        folds_in: whether a user is the normalised mean of their items.
        popularity: whether the last column is the popularity part.
    """

    users: NDArray[np.float32]
    items: NDArray[np.float32]
    item_parts: NDArray[np.float32]
    columns: list[ColumnGroup]
    folds_in: bool
    popularity: bool

    @property
    def width(self) -> int:
        """D without the popularity part."""
        return self.columns[-1].stop

    @property
    def linear(self) -> int:
        """Number of columns of the linear part, the last before the popularity part."""
        last = self.columns[-1]
        return last.stop - last.start if last.names == [LINEAR] else 0

    @property
    def parts(self) -> list[Part]:
        """Parts in the order of `item_parts`."""
        parts = [Part(name=n, start=c.start, stop=c.stop) for c in self.columns for n in c.names]
        stop = self.width + 1
        bias = [Part(name=POPULARITY, start=self.width, stop=stop)] if self.popularity else []
        return [*parts, *bias]


def fit_item_encoder(
    vectors: FusedVectors, modalities: dict[str, Modality], train: Csr
) -> ItemEncoder:
    """Fit the map from features to the vectors of items with train interactions.

    Each item is used with all its modalities, with each one alone and with each one left out,
    because new items may lack some. A new item's popularity part is near the mean of known items.
    """
    names, count = list(modalities), len(modalities)
    features = [torch.from_numpy(m.features) for m in modalities.values()]
    present = _presence(modalities, len(vectors.items))
    known = torch.from_numpy(np.flatnonzero(train.column_counts()))
    targets = torch.from_numpy(vectors.items)[:, : vectors.width]
    single = torch.eye(count)
    subsets = {
        tuple(kept) for kept in torch.cat([torch.ones(1, count), single, 1 - single]).tolist()
    }

    def pairs() -> Iterator[tuple[Tensor, Tensor]]:
        for kept in map(torch.tensor, sorted(subsets)):
            for rows in torch.split(known, 8192):
                inputs = ItemEncoder.inputs([x[rows] for x in features], present[rows] * kept)
                yield inputs, targets[rows]

    widths = [x.shape[1] for x in features]
    popularity = None
    if vectors.popularity:
        popularity = float(vectors.items[known, -1].mean()) + NEWCOMER
    return ItemEncoder(
        widths=widths,
        columns=[(c.start, c.stop) for c in vectors.columns],
        lengths=[_length(c) for c in vectors.columns],
        needs=torch.tensor([_needed(c.names, names) for c in vectors.columns]),
        weight=ridge(pairs(), RIDGE) if count else torch.zeros(0, targets.shape[1]),
        popularity=popularity,
    )


def fit_user_encoder(vectors: FusedVectors, train: Csr) -> UserEncoder:
    """Fit the map from the mean of a user's items to the user's vector.

    If the model itself represents users this way, nothing is fitted and fold-in is exact.
    """
    if vectors.folds_in:
        return UserEncoder(None, vectors.popularity, vectors.linear)
    lines = vectors.width - vectors.linear
    user_idx, item_idx = (torch.from_numpy(idx).long() for idx in train.pairs())
    mean = history_mean(user_idx, item_idx, train.n_rows, train.n_cols)
    means = mean.matmul(torch.from_numpy(vectors.items[:, :lines]))
    known = torch.from_numpy(np.flatnonzero(train.lengths))
    users = torch.from_numpy(vectors.users[:, :lines])
    weight = ridge([(means[known], users[known])], RIDGE)
    return UserEncoder(weight, vectors.popularity, vectors.linear)


def export_item_encoder(encoder: ItemEncoder, names: list[str]) -> bytes:
    """ONNX model with one input per modality and `present`; output `item_vectors`."""
    example = [torch.rand(2, width) for width in encoder.widths]
    example.append(torch.ones(2, len(encoder.widths)))
    batch = torch.export.Dim("batch")
    # One tuple for the variadic argument, with one entry per input.
    shapes = (tuple({0: batch} for _ in example),)
    return export_onnx(encoder, tuple(example), [*names, "present"], "item_vectors", shapes)


def export_user_encoder(encoder: UserEncoder, dim: int) -> bytes:
    """ONNX model with inputs `item_vectors`, `mask`, `weights`; output `user_vectors`."""
    example = (torch.rand(2, 3, dim), torch.ones(2, 3), torch.ones(2, 3))
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("history")}
    names = ["item_vectors", "mask", "weights"]
    return export_onnx(encoder, example, names, "user_vectors", (axes, axes, axes))


@torch.no_grad()
def encoder_sample(
    item_encoder: ItemEncoder,
    user_encoder: UserEncoder,
    vectors: FusedVectors,
    modalities: dict[str, Modality],
    train: Csr,
    rng: np.random.Generator,
) -> EncoderSample:
    """Inputs and outputs of both encoders in torch, for sampled users and items.

    Some of the items have modalities removed.
    """
    items = rng.choice(len(vectors.items), min(SAMPLE, len(vectors.items)), replace=False)
    features = {name: m.features[items] for name, m in modalities.items()}
    present = _presence(modalities, len(vectors.items))[torch.from_numpy(items)].numpy() > 0
    present &= rng.random(present.shape) < 0.8
    inputs = [torch.from_numpy(x) for x in features.values()]
    item_vectors = item_encoder(*inputs, torch.from_numpy(present).float()).numpy()

    known = np.flatnonzero(train.lengths)
    users = rng.choice(known, min(SAMPLE, len(known)), replace=False)
    history = np.zeros((len(users), SAMPLE_HISTORY, vectors.items.shape[1]), np.float32)
    mask = np.zeros(history.shape[:2], np.bool_)
    for row, user in enumerate(users):
        of_user = train.row(user)[:SAMPLE_HISTORY]
        history[row, : len(of_user)], mask[row, : len(of_user)] = vectors.items[of_user], True
    weights = np.asarray(rng.uniform(0.5, 1.5, mask.shape), np.float32)
    user_inputs = [torch.from_numpy(x) for x in (history, mask.astype(np.float32), weights)]
    user_vectors = user_encoder(*user_inputs).numpy()
    return EncoderSample(features, present, item_vectors, history, mask, weights, user_vectors)


def parity(
    item_encoder: bytes, user_encoder: bytes, sample: EncoderSample, widths: dict[str, int]
) -> dict[str, float]:
    """Largest absolute difference between ONNX Runtime and torch on the sample, per encoder."""
    with tempfile.TemporaryDirectory() as directory:
        item_path, user_path = Path(directory) / "item.onnx", Path(directory) / "user.onnx"
        item_path.write_bytes(item_encoder)
        user_path.write_bytes(user_encoder)
        items = bundle.format.encoders.ItemEncoder(item_path, widths).encode(
            sample.features, sample.present
        )
        users = bundle.format.encoders.UserEncoder(user_path).encode(
            sample.history, sample.mask, sample.weights
        )
    return {
        "item_encoder": float(np.abs(items - sample.item_vectors).max(initial=0.0)),
        "user_encoder": float(np.abs(users - sample.user_vectors).max(initial=0.0)),
    }


def encoded_users(
    user_encoder: bytes, item_vectors: Floats, seen: Csr, weights: Floats, users: Rows
) -> Floats:
    """Vectors [n, D] of some users, computed from their histories as for events."""
    own = Csr(seen.indptr, np.arange(seen.nnz, dtype=np.int32), seen.nnz).select(users)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "user.onnx"
        path.write_bytes(user_encoder)
        encoder = bundle.format.encoders.UserEncoder(path)
        return encode_histories(
            encoder, item_vectors, own.indptr, seen.indices[own.indices], weights[own.indices]
        )


def _length(columns: ColumnGroup) -> float | None:
    """Norm of a new item's vector in the columns."""
    if columns.length is not None and columns.names == [BEHAVIOUR]:
        return columns.length * GUESSED_BEHAVIOUR
    return columns.length


def _needed(names: list[str], modalities: list[str]) -> list[bool]:
    """Modalities [M] of which a column group needs at least one; the behaviour line needs any."""
    own = set(names) & set(modalities)
    return [name in own or not own or BEHAVIOUR in names for name in modalities]


def _presence(modalities: dict[str, Modality], n_items: int) -> Tensor:
    """Presence of modalities, [I, M] as 0 and 1."""
    columns = [torch.from_numpy(m.present).float() for m in modalities.values()]
    return torch.stack(columns, 1) if columns else torch.zeros(n_items, 0)
