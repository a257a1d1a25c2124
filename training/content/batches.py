"""Content of many items → feature matrix, batch by batch, through the cache."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from bundle.content.onnx import ContentEncoder
from bundle.content.pictures import UnreadableError, read_picture
from training.content.cache import VectorCache, content_key
from training.content.fingerprint import encoder_fingerprint

COMMIT_BATCHES = 8
"""Batches between two commits to the cache: what a killed run has to repeat."""

A = TypeVar("A")
B = TypeVar("B")


class Bar(Protocol):
    """The part of tqdm that is used here."""

    def update(self, n: int) -> object:
        """Says that `n` more items are done."""


@dataclass(frozen=True)
class Content:
    """Where one item's content is: a picture file, or the text itself."""

    row: int
    source: Path | str


@dataclass
class Encoded:
    """Features [I, F] float32 and what happened on the way.

    Attributes:
        features: rows of items without content, or with content that failed, are zero.
        n_encoded: items that went through the encoder now.
        n_cached: items whose vector was known.
        failed: row and reason of the others.
    """

    features: NDArray[np.float32]
    n_encoded: int = 0
    n_cached: int = 0
    failed: list[tuple[Content, str]] = field(default_factory=list)


def encode_contents(
    contents: Sequence[Content],
    n_items: int,
    encoder: ContentEncoder,
    cache: VectorCache,
    *,
    batch_size: int,
    threads: int,
    bar: Bar,
) -> Encoded:
    """Encodes `contents`, in this order, into a matrix of `n_items` rows.

    Stores what it has after every few batches, so that an interrupted run goes on from there.
    """
    done = Encoded(np.zeros((n_items, encoder.dim), np.float32))
    step = COMMIT_BATCHES * batch_size
    fingerprint = encoder_fingerprint(encoder)
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(contents), step):
            part = contents[start : start + step]
            _encode_part(part, done, encoder, fingerprint, cache, pool, batch_size)
            bar.update(len(part))
    return done


def _encode_part(
    part: Sequence[Content],
    done: Encoded,
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


def _read(content: Content) -> bytes:
    if isinstance(content.source, Path):
        return read_picture(content.source)
    # A lone surrogate, which JSON can smuggle in, has no UTF-8.
    return content.source.encode(errors="replace")


def _attempts(
    pool: ThreadPoolExecutor, function: Callable[[A], B], arguments: Iterable[A]
) -> list[B | UnreadableError]:
    """Results in order; in place of a result, the reason why there is none."""

    def attempt(argument: A) -> B | UnreadableError:
        try:
            return function(argument)
        except UnreadableError as error:
            return error

    return list(pool.map(attempt, arguments))
