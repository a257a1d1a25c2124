"""Consistency of a bundle's files with each other, beyond their checksums."""

from pathlib import Path
from typing import Any

import numpy as np

from bundle.csr import Csr
from bundle.errors import BundleError
from bundle.format.encoders import ItemEncoder, UserEncoder
from bundle.format.lists import InvertedLists, ItemVectors, is_coded, search_faiss
from bundle.format.manifest import MANIFEST, Manifest
from bundle.format.scorer import EXACT_SEARCH, ItemScorer
from bundle.format.unreadable import reading
from bundle.format.writer import EncoderSample
from bundle.types import Floats

INDEX, SIMILAR = "items.faiss", "similar.faiss"
ENCODER_TOLERANCE = 1e-3
"""Maximum difference between stored and recomputed outputs of a model. Float32 sums vary by less
with the version of ONNX Runtime and between CPU and GPU; a wrong file differs by much more."""
CODE_TOLERANCE = 0.2
"""Maximum difference between a score of codes and the exact one, as a fraction of the largest;
those of other vectors differ by more than half of it."""
INDEX_RESULTS = 20
"""Number of results whose scores are compared when the index is checked."""
BLOCK = 1_000_000
"""Interactions per block of a check: 8 MB."""
CHECKED = 4096
"""Rows of vectors per block of a check: 2 MB with 128 columns, which fit a core's cache."""
PART_TOLERANCE = 1e-4
"""Maximum difference between an element of a vector and the sum of its parts: float32 rounding."""


def check_seen(directory: Path, seen: Csr) -> None:
    """Each row must hold ascending rows of items, or requests would fail or show wrong items."""
    if seen.indptr[0] != 0 or (np.diff(seen.indptr) < 0).any():
        raise BundleError(f"{directory / 'seen_indptr.npy'}: is not ascending from 0")
    for start in range(0, seen.nnz, BLOCK):
        block = seen.indices[start : start + BLOCK + 1].astype(np.int64)
        ascending = np.diff(block) > 0
        first, last = np.searchsorted(seen.indptr, [start + 1, start + len(block)])
        ascending[seen.indptr[first:last] - start - 1] = True  # a row may begin with any item
        if not ascending.all() or block.min() < 0 or block.max() >= seen.n_cols:
            raise BundleError(
                f"{directory / 'seen_indices.npy'}: has rows that are not ascending numbers below "
                f"{seen.n_cols}"
            )


def check_parts(
    directory: Path, manifest: Manifest, item_vectors: Floats, item_parts: Floats
) -> None:
    """The parts must add up to the vectors, or explanations of scores would be wrong."""
    if any(not 0 <= part.start < part.stop <= manifest.dim for part in manifest.parts):
        raise BundleError(f"{directory / MANIFEST}: parts are outside of columns 0…{manifest.dim}")
    for start in range(0, manifest.n_items, CHECKED):
        rows = slice(start, start + CHECKED)
        rest = np.array(item_vectors[rows])
        for number, part in enumerate(manifest.parts):
            rest[:, part.start : part.stop] -= item_parts[rows, manifest.part_columns(number)]
        wrong = (np.abs(rest) > PART_TOLERANCE).any(1)
        if wrong.any():
            row = start + int(np.argmax(wrong))
            raise BundleError(
                f"{directory / 'item_parts.npy'}: row {row} does not add up to the item's vector"
            )


def check_encoders(
    path: Path, dim: int, item_encoder: ItemEncoder, user_encoder: UserEncoder
) -> None:
    with reading(path):
        sample = EncoderSample.load(path)
        items = item_encoder.encode(sample.features, sample.present)
        users = user_encoder.encode(sample.history, sample.mask, sample.weights)
        outputs = {
            "item_encoder.onnx": (items, np.asarray(sample.item_vectors, np.float32)),
            "user_encoder.onnx": (users, np.asarray(sample.user_vectors, np.float32)),
        }
    for name, (found, expected) in outputs.items():
        if found.shape != expected.shape or found.shape[1:] != (dim,):
            raise BundleError(f"{path.with_name(name)}: output {found.shape}, not {expected.shape}")
        difference = float(np.abs(found - expected).max(initial=0.0))
        if not difference <= ENCODER_TOLERANCE:
            raise BundleError(
                f"{path.with_name(name)}: differs from the stored sample by {difference:.2g}"
            )


def check_searches(
    directory: Path,
    index: Any,
    similar: InvertedLists | None,
    scorer: ItemScorer | None,
    item_vectors: Floats,
    popular: int,
) -> None:
    """Indexes and exact search must return inner products with the stored vectors.

    Those with the item of row `popular` are compared: a zero vector would prove nothing.
    """
    query = np.asarray(item_vectors[popular : popular + 1])
    vectors = ItemVectors(item_vectors, item_vectors.shape[1])
    _check_index(directory / INDEX, index, vectors, popular)
    if similar is not None:
        _check_index(directory / SIMILAR, similar.index, similar.vectors, popular)
    if scorer is None:
        return
    path = directory / EXACT_SEARCH
    with reading(path, "ONNX Runtime cannot run it"):
        right = _close(scorer.scores(query), query @ item_vectors.T)
    if not right:
        raise BundleError(f"{path}: does not return the inner products with item_vectors.npy")


def _check_index(path: Path, index: Any, vectors: ItemVectors, row: int) -> None:
    """An index must return the products with the vectors, with codes about those."""
    query = np.ascontiguousarray(vectors[np.array([row])])
    with reading(path, "FAISS cannot search it"):
        scores, rows = search_faiss(index, query, min(INDEX_RESULTS, len(vectors)))
        found = rows[0] >= 0  # the visited lists may hold fewer
        exact = vectors[rows[0, found]] @ query[0]
        if is_coded(index):
            right = bool((np.abs(scores[0, found] - exact) <= CODE_TOLERANCE * exact.max()).all())
        else:
            right = _close(scores[0, found], exact)
    if not right:
        raise BundleError(f"{path}: does not return the inner products with item_vectors.npy")


def _close(found: Floats, expected: Floats) -> bool:
    return found.shape == expected.shape and np.allclose(
        found, expected, rtol=ENCODER_TOLERANCE, atol=ENCODER_TOLERANCE
    )
