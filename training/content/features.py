"""From titles and picture files to `text_feat.npy` and `image_feat.npy`.

Row i of a feature file belongs to row i of the items table; a row of zeros says that the item
lacks the modality. Vectors are cached by content, see `training.content.cache`.
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
from bundle.content.onnx import ContentEncoder
from bundle.content.pictures import quiet_pillow
from bundle.errors import InputError
from training.content.batches import Content, encode_contents
from training.content.cache import CACHE_FILE, VectorCache, cache_folder
from training.content.defaults import default_image_encoder, default_text_encoder
from training.content.items import ItemContent, read_item_content
from training.content.report import (
    N_EXAMPLES,
    FeatureReport,
    Modality,
    ModalityReport,
    Problem,
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
    """Writes `text_feat.npy` and `image_feat.npy` [I, F] float32 into `data`.

    Args:
        data: folder with `items.parquet`, `items.csv` or `items.jsonl`.
        text_columns: columns that together are an item's text; none: no `text_feat.npy`.
        image_column: column of picture paths, relative to `data`; None: no `image_feat.npy`.
        text_encoder: folder with an `encoder.json`, by default all-MiniLM-L6-v2.
        image_encoder: folder with an `encoder.json`, by default EfficientNet-Lite0.
        batch_size: items that go through an encoder at once.
        threads: for reading, decoding and encoding.
        progress: whether to draw a bar on stderr, if that is a terminal.

    Returns:
        Counts for each modality, and the first items whose content was broken: these get a row of
        zeros and stop nothing.

    Raises:
        InputError: table, columns, encoders or folders are wrong; nothing is written then.
    """
    if not text_columns and image_column is None:
        raise InputError(f"{data}: neither text columns nor an image column are given")
    if batch_size < 1 or threads < 1:
        raise InputError("batch size and threads must be at least 1")
    content = read_item_content(data, text_columns, image_column)
    folder = cache_folder()
    # Both encoders first: a wrong one is reported before an hour of encoding by the other.
    encoders: dict[Modality, ContentEncoder] = {}
    if text_columns:
        encoders["text"] = _encoder("text", text_encoder, folder, threads)
    if image_column is not None:
        encoders["image"] = _encoder("image", image_encoder, folder, threads)
    with VectorCache(folder / CACHE_FILE) as cache, quiet_pillow():
        return FeatureReport(
            [
                _extract(modality, data, content, encoder, cache, batch_size, threads, progress)
                for modality, encoder in encoders.items()
            ]
        )


def _encoder(kind: Modality, given: Path | None, cache: Path, threads: int) -> ContentEncoder:
    if given is None:
        return (
            default_text_encoder(threads)
            if kind == "text"
            else default_image_encoder(cache, threads)
        )
    encoder = load_encoder(given, threads)
    if encoder.spec.kind != kind:
        raise InputError(f"{given}: is an encoder of kind {encoder.spec.kind}, not {kind}")
    return encoder


def _contents(modality: Modality, data: Path, content: ItemContent) -> list[Content]:
    match modality:
        case "text":
            found = [Content(row, text) for row, text in enumerate(content.texts) if text]
            # Texts of like length in one batch: little padding to compute.
            return sorted(found, key=lambda c: len(str(c.source)))
        case "image":
            return [Content(row, data / path) for row, path in enumerate(content.images) if path]


def _extract(
    modality: Modality,
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
            Problem(content.ids[c.row], _shown(modality, content, c.row), reason)
            for c, reason in failed[:N_EXAMPLES]
        ],
        seconds=time.perf_counter() - start,
    )


def _shown(modality: Modality, content: ItemContent, row: int) -> str:
    return content.images[row] if modality == "image" else repr(content.texts[row][:60])


def _write(path: Path, features: NDArray[np.float32]) -> None:
    """Replaces the file in one step: a reader sees the old one or the new one."""
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
