"""Extraction of `text_feat.npy` and `image_feat.npy` from texts and picture files.

Row i of a feature file belongs to row i of the items table; a zero row means that the item lacks
the modality. Vectors are cached by content, see `training.content.cache`.
"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from bundle.content.encoders import load_encoder
from bundle.content.onnx_model import ContentEncoder
from bundle.errors import InputError
from bundle.store.download_cache import default_cache
from training.content.batches import ItemInput, encode_contents
from training.content.cache import CACHE_FILE, VectorCache
from training.content.default_encoders import default_image_encoder, default_text_encoder
from training.content.items import ItemContent, read_item_content
from training.content.report import (
    N_EXAMPLES,
    BrokenItem,
    ContentKind,
    FeatureReport,
    ModalityReport,
)


def extract_features(
    data: Path,
    text_columns: Sequence[str],
    image_column: str | None,
    *,
    text_encoder: Path | None = None,
    image_encoder: Path | None = None,
    batch_size: int = 8,
    threads: int,
    progress: bool,
) -> FeatureReport:
    """Write `text_feat.npy` and `image_feat.npy`, [I, F] float32, into a data folder.

    Args:
        data: folder with `items.parquet`, `items.csv` or `items.jsonl`.
        text_columns: columns that are joined to an item's text; empty: no `text_feat.npy`.
        image_column: column of picture paths, relative to `data`; None: no `image_feat.npy`.
        text_encoder: folder with an `encoder.json`, by default all-MiniLM-L6-v2.
        image_encoder: folder with an `encoder.json`, by default EfficientNet-Lite0.
        batch_size: items per encoder call.
        threads: threads for reading, decoding and encoding.
        progress: show a progress bar on stderr, if that is a terminal.

    Returns:
        Counts per modality and the first items with unreadable content; such items get zero rows.

    Raises:
        InputError: table, columns, encoders or folders are invalid; nothing is written then.
    """
    if not text_columns and image_column is None:
        raise InputError(f"{data}: give text columns, an image column or both")
    if batch_size < 1 or threads < 1:
        raise InputError("batch size and threads must be at least 1")
    content = read_item_content(data, text_columns, image_column)
    folder = default_cache()
    # Both encoders are opened first: an invalid one is reported before an hour of encoding.
    encoders: dict[ContentKind, ContentEncoder] = {}
    if text_columns:
        encoders["text"] = _encoder("text", text_encoder, folder, threads)
    if image_column is not None:
        encoders["image"] = _encoder("image", image_encoder, folder, threads)
    with VectorCache(folder / CACHE_FILE) as cache:
        return FeatureReport(
            [
                _extract(modality, data, content, encoder, cache, batch_size, threads, progress)
                for modality, encoder in encoders.items()
            ]
        )


def _encoder(kind: ContentKind, given: Path | None, cache: Path, threads: int) -> ContentEncoder:
    if given is None:
        return (
            default_text_encoder(threads)
            if kind == "text"
            else default_image_encoder(cache, threads)
        )
    encoder = load_encoder(given, threads)
    if encoder.spec.kind != kind:
        raise InputError(f"{given}: contains an encoder of kind {encoder.spec.kind}, not {kind}")
    return encoder


def _contents(modality: ContentKind, data: Path, content: ItemContent) -> list[ItemInput]:
    match modality:
        case "text":
            found = [ItemInput(row, text) for row, text in enumerate(content.texts) if text]
            # Texts of similar length share a batch, which saves padding.
            return sorted(found, key=lambda c: len(str(c.source)))
        case "image":
            return [ItemInput(row, data / path) for row, path in enumerate(content.images) if path]


def _extract(
    modality: ContentKind,
    data: Path,
    content: ItemContent,
    encoder: ContentEncoder,
    cache: VectorCache,
    batch_size: int,
    threads: int,
    progress: bool,
) -> ModalityReport:
    start = time.perf_counter()
    contents = _contents(modality, data, content)
    quiet = not (progress and sys.stderr.isatty())
    with tqdm(total=len(contents), desc=modality, unit="item", disable=quiet) as bar:
        done = encode_contents(
            contents,
            len(content.ids),
            encoder,
            cache,
            batch_size=batch_size,
            threads=threads,
            bar=bar,
        )
    path = data / f"{modality}_feat.npy"
    _write(path, done.features)
    failed = sorted(done.failed, key=lambda pair: pair[0].row)
    return ModalityReport(
        modality=modality,
        path=path,
        n_items=len(content.ids),
        dim=encoder.dim,
        n_encoded=done.n_encoded,
        n_cached=done.n_cached,
        n_absent=len(content.ids) - len(contents),
        n_broken=len(failed),
        broken=[
            BrokenItem(content.ids[c.row], _shown(modality, content, c.row), reason)
            for c, reason in failed[:N_EXAMPLES]
        ],
        seconds=time.perf_counter() - start,
    )


def _shown(modality: ContentKind, content: ItemContent, row: int) -> str:
    return content.images[row] if modality == "image" else repr(content.texts[row][:60])


def _write(path: Path, features: NDArray[np.float32]) -> None:
    """Replace the file atomically."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with fresh.open("wb") as file:
            np.save(file, features, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        fresh.unlink(missing_ok=True)
