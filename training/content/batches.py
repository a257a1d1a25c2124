"""Batched encoding of item content into a feature matrix, with a cache of vectors."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from bundle.content.onnx_model import ContentEncoder
from bundle.content.pictures import UnreadableError, read_picture
from training.content.cache import VectorCache, content_key, encoder_fingerprint

COMMIT_BATCHES = 8
"""Batches between two commits to the cache; an interrupted run repeats at most so many."""

A = TypeVar("A")
B = TypeVar("B")


class Bar(Protocol):
    """Progress bar; the part of tqdm that is used here."""

    def update(self, n: int) -> object:
        """Report `n` more items as done."""


@dataclass(frozen=True)
class ItemInput:
    """Content of one item: its row, and a picture file or a text."""

    row: int
    source: Path | str


@dataclass
class EncodedFeatures:
    """Encoded features and statistics.

    Attributes:
        features: [I, F] float32; zero rows for items without or with unreadable content.
        n_encoded: items encoded in this run.
        n_cached: items whose vector came from the cache.
        failed: items with unreadable content, and the reasons.
    """

    features: NDArray[np.float32]
    n_encoded: int = 0
    n_cached: int = 0
    failed: list[tuple[ItemInput, str]] = field(default_factory=list)


def encode_contents(
    contents: Sequence[ItemInput],
    n_items: int,
    encoder: ContentEncoder,
    cache: VectorCache,
    *,
    batch_size: int,
    threads: int,
    bar: Bar,
) -> EncodedFeatures:
    """Encode item contents into a feature matrix.

    The cache is updated after every few batches, so that an interrupted run can be resumed.

    Args:
        contents: contents, in the order of encoding.
        n_items: I, rows of the matrix.
        encoder: the encoder.
        cache: known vectors.
        batch_size: items per encoder call.
        threads: threads for reading and decoding.
        bar: progress bar.
    """
    done = EncodedFeatures(np.zeros((n_items, encoder.dim), np.float32))
    step = COMMIT_BATCHES * batch_size
    fingerprint = encoder_fingerprint(encoder)
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(contents), step):
            part = contents[start : start + step]
            _encode_part(part, done, encoder, fingerprint, cache, pool, batch_size)
            bar.update(len(part))
    return done


def _encode_part(
    part: Sequence[ItemInput],
    done: EncodedFeatures,
    encoder: ContentEncoder,
    fingerprint: str,
    cache: VectorCache,
    pool: ThreadPoolExecutor,
    batch_size: int,
) -> None:
    keys: dict[int, bytes] = {}
    content_of: dict[bytes, bytes] = {}
    for content, raw in zip(part, _attempts(pool, _read, part), strict=True):
        if isinstance(raw, UnreadableError):
            done.failed.append((content, str(raw)))
            continue
        key = keys[content.row] = content_key(fingerprint, raw)
        content_of[key] = raw
    vectors = cache.get(list(content_of), encoder.dim)
    done.n_cached += sum(key in vectors for key in keys.values())

    new = [key for key in content_of if key not in vectors]
    fresh: dict[bytes, NDArray[np.float32]] = {}
    reasons: dict[bytes, str] = {}
    for start in range(0, len(new), batch_size):
        batch = new[start : start + batch_size]
        raws = [content_of[key] for key in batch]
        prepared = dict(zip(batch, _attempts(pool, encoder.prepare, raws), strict=True))
        reasons |= {k: str(p) for k, p in prepared.items() if isinstance(p, UnreadableError)}
        good = {k: p for k, p in prepared.items() if not isinstance(p, UnreadableError)}
        if not good:
            continue
        for key, vector in zip(good, encoder.encode(list(good.values())), strict=True):
            if np.isfinite(vector).all():
                fresh[key] = vector
            else:
                reasons[key] = "the encoder's vector is not finite"
    if fresh:
        cache.put(fresh)

    for content in part:
        known = keys.get(content.row)
        if known is None:
            continue
        if known in reasons:
            done.failed.append((content, reasons[known]))
            continue
        done.n_encoded += known in fresh
        done.features[content.row] = fresh[known] if known in fresh else vectors[known]


def _read(content: ItemInput) -> bytes:
    if isinstance(content.source, Path):
        return read_picture(content.source)
    # JSON may contain lone surrogates, which UTF-8 cannot encode.
    return content.source.encode(errors="replace")


def _attempts(
    pool: ThreadPoolExecutor, function: Callable[[A], B], arguments: Iterable[A]
) -> list[B | UnreadableError]:
    """Results of a function in order; for unreadable content the error instead."""

    def attempt(argument: A) -> B | UnreadableError:
        try:
            return function(argument)
        except UnreadableError as error:
            return error

    return list(pool.map(attempt, arguments))
