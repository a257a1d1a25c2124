"""The bundle's encoders: fitted to the trained vectors, exported as ONNX, compared with torch."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import bundle.encoders
from bundle.contents import EncoderSample
from bundle.csr import Csr
from bundle.manifest import POPULARITY, Part
from models.drepmrec import BEHAVIOUR
from models.encoders import ItemEncoder, UserEncoder, ridge
from models.graphs import history_mean
from training.dataset import Modality
from training.onnx_export import export_onnx

RIDGE = 1e-3
"""Strength of both maps, relative to the inputs' mean square."""
GUESSED_BEHAVIOUR = 0.5
"""Length of a new item's behaviour part beside those of known items: it is a guess from content.
Better on held-out items of TikTok's and Baby's valid parts than 1 and 0 (benchmarks/cold_start.py
measures what became of it)."""
NEWCOMER = 0.07
"""What a new item's score gets on top of the mean popularity part, because a guessed vector fits
users less well than a trained one: as much as leaves known items 0.98 of their recall on both."""
SAMPLE = 64
"""Items and users in the sample that the encoders must reproduce where they are loaded."""
SAMPLE_HISTORY = 16


@dataclass(frozen=True)
class Columns:
    """Columns start ≤ d < stop of fused vectors that some lines or modalities share.

    Attributes:
        start, stop: the columns.
        length: of the vector in them.
        names: of the lines and modalities.
    """

    start: int
    stop: int
    length: float
    names: list[str]


@dataclass(frozen=True)
class FusedVectors:
    """Trained vectors and what their columns mean.

    Attributes:
        users: [U, D]; zero where a user has no train interactions.
        items: [I, D].
        item_parts: [I, ΣW] what each line and modality, and popularity, adds to its columns.
        columns: of the lines and modalities, without the popularity part.
        folds_in: whether a user is the mean of the items, brought to unit length.
        popularity: whether the last column is the popularity part.
    """

    users: NDArray[np.float32]
    items: NDArray[np.float32]
    item_parts: NDArray[np.float32]
    columns: list[Columns]
    folds_in: bool
    popularity: bool

    @property
    def width(self) -> int:
        """D without the popularity part."""
        return self.columns[-1].stop

    @property
    def parts(self) -> list[Part]:
        """In the order of `item_parts`."""
        parts = [Part(name=n, start=c.start, stop=c.stop) for c in self.columns for n in c.names]
        stop = self.width + 1
        bias = [Part(name=POPULARITY, start=self.width, stop=stop)] if self.popularity else []
        return [*parts, *bias]


def fit_item_encoder(
    vectors: FusedVectors, modalities: dict[str, Modality], train: Csr
) -> ItemEncoder:
    """Map features to the vectors of the items that have train interactions.

    Each item counts with all its modalities, with each one alone and with each one left out: a
    new item may lack some. Its popularity is unknown: it starts near the mean of all known items.
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
        lengths=[
            c.length * (GUESSED_BEHAVIOUR if c.names == [BEHAVIOUR] else 1.0)
            for c in vectors.columns
        ],
        needs=torch.tensor([_needed(c.names, names) for c in vectors.columns]),
        weight=ridge(pairs(), RIDGE) if count else torch.zeros(0, targets.shape[1]),
        popularity=popularity,
    )


def fit_user_encoder(vectors: FusedVectors, train: Csr) -> UserEncoder:
    """Map the mean of a user's items to the user's vector.

    Where that is how the model makes users, there is nothing to fit and fold-in is exact.
    """
    if vectors.folds_in:
        return UserEncoder(None, vectors.popularity)
    user_idx, item_idx = (torch.from_numpy(idx).long() for idx in train.pairs())
    mean = history_mean(user_idx, item_idx, train.n_rows, train.n_cols)
    means = mean.matmul(torch.from_numpy(vectors.items[:, : vectors.width]))
    known = torch.from_numpy(np.flatnonzero(train.lengths))
    users = torch.from_numpy(vectors.users[:, : vectors.width])
    return UserEncoder(ridge([(means[known], users[known])], RIDGE), vectors.popularity)


def export_item_encoder(encoder: ItemEncoder, names: list[str]) -> bytes:
    """ONNX with an input for each modality, then `present`; output `item_vectors`."""
    example = [torch.rand(2, width) for width in encoder.widths]
    example.append(torch.ones(2, len(encoder.widths)))
    batch = torch.export.Dim("batch")
    # One tuple for the variadic argument, in it one entry for each input.
    shapes = (tuple({0: batch} for _ in example),)
    return export_onnx(encoder, tuple(example), [*names, "present"], "item_vectors", shapes)


def export_user_encoder(encoder: UserEncoder, dim: int) -> bytes:
    """ONNX with inputs `item_vectors`, `mask`, `weights`; output `user_vectors`."""
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
    """What torch makes of a sample of items, some of them short of a modality, and of users."""
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
    """Largest absolute difference between ONNX Runtime and torch on the sample, by encoder."""
    with tempfile.TemporaryDirectory() as directory:
        item_path, user_path = Path(directory) / "item.onnx", Path(directory) / "user.onnx"
        item_path.write_bytes(item_encoder)
        user_path.write_bytes(user_encoder)
        items = bundle.encoders.ItemEncoder(item_path, widths).encode(
            sample.features, sample.present
        )
        users = bundle.encoders.UserEncoder(user_path).encode(
            sample.history, sample.mask, sample.weights
        )
    return {
        "item_encoder": float(np.abs(items - sample.item_vectors).max(initial=0.0)),
        "user_encoder": float(np.abs(users - sample.user_vectors).max(initial=0.0)),
    }


def _needed(names: list[str], modalities: list[str]) -> list[bool]:
    """Of which modalities [M] columns of these names need at least one; behaviour takes any."""
    own = set(names) & set(modalities)
    return [name in own or not own or BEHAVIOUR in names for name in modalities]


def _presence(modalities: dict[str, Modality], n_items: int) -> Tensor:
    """[I, M] as 0 and 1."""
    columns = [torch.from_numpy(m.present).float() for m in modalities.values()]
    return torch.stack(columns, 1) if columns else torch.zeros(n_items, 0)
