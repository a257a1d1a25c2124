"""Damaged and foreign files in a bundle: one sentence that names the file, or right answers."""

import io
import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest

from bundle.errors import BundleError
from bundle.events.history import fold_in
from bundle.format import index
from bundle.format.manifest import MANIFEST, IndexInfo, Manifest
from bundle.format.reader import Bundle
from bundle.format.writer import BundleContents
from bundle.search.recommender import Recommender
from bundle.store.store import BundleStore
from bundle.types import NO_ITEMS, Rows
from tests.support.data.bundles import make_contents
from tests.support.data.sealing import seal

FILES = [
    *("user_vectors.npy", "item_vectors.npy", "item_parts.npy", "users.arrow", "items.arrow"),
    *("seen_indptr.npy", "seen_indices.npy", "seen_weights.npy", "popularity.npy", "items.faiss"),
    *("user_encoder.onnx", "item_encoder.onnx", "encoder_sample.npz", "config.json", "report.json"),
    "exact_search.onnx",
]
INDEXES = ("items.faiss", "similar.faiss")
EACH = [
    *(("flat", name) for name in FILES),
    *((kind, name) for kind in ("ivf", "ivf_sq8") for name in INDEXES),
]
"""Kind of the index and file: all other files are the same with an index of another kind."""


class Boom:
    """Opened by a reader that trusts pickles, it would raise where no error names a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise SystemExit('a pickle was loaded')",))


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def arrow(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


HEADER = b"\x93NUMPY\x01\x00"
FOREIGN: dict[str, bytes] = {
    "empty": b"",
    "zeros": bytes(4096),
    "random": np.random.default_rng(3).bytes(4096),
    "text": "Grüße\n".encode("latin1"),
    "html": b"<!DOCTYPE html><title>404</title>",
    "list": b"[]",
    "null": b"null",
    "number": b"1e999",
    "string": b'"a"',
    "deep list": b"[" * 100_000 + b"]" * 100_000,
    "deep object": b'{"a":' * 600 + b"1" + b"}" * 600,
    "no numbers": b'{"ndcg": NaN, "recall": -Infinity, "mrr": 1e999}',
    "half a letter": b'{"title": "\\ud800"}',
    "pickle": pickle.dumps(Boom()),
    "array of objects": npy(np.array([Boom()], object)),
    "array too large": HEADER
    + b"\x76\x00"
    + b"{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999, 16)}".ljust(0x75)
    + b"\n",
    "array header": HEADER + b"\xff\xff" + b"(" * 65_535,
    "archive": npz(a=np.zeros(3)),
    "archive of objects": npz(features=np.array([Boom()], object)),
    "table": arrow(pa.table({"x": [1]})),
    "item ids are numbers": arrow(pa.table({"item_id": range(120)})),
    "user ids are numbers": arrow(pa.table({"user_id": range(110)})),
    "an id is null": arrow(pa.table({"user_id": [*map(str, range(109)), None]})),
}


@pytest.fixture(scope="module")
def contents() -> BundleContents:
    return make_contents(110, 120, 16, rng=np.random.default_rng(5))


@pytest.fixture(scope="module", params=["flat", "ivf", "ivf_sq8"])
def whole(
    request: pytest.FixtureRequest,
    contents: BundleContents,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    store = BundleStore(tmp_path_factory.mktemp(request.param))
    with pytest.MonkeyPatch.context() as patch:
        if request.param != "flat":
            patch.setattr(index, "EXACT_BELOW", 100)
        if request.param == "ivf_sq8":
            contents = replace(contents, index_budget=120 * 48)
        return store.path(store.publish(contents))


def one_sentence_or_right(directory: Path, contents: BundleContents) -> str | None:
    """The error, which must name the file; or None if the bundle answers as the whole one does."""
    try:
        bundle = Bundle.load(directory)
    except BundleError as error:
        sentence = str(error)
        assert "\n" not in sentence
        assert str(directory) in sentence
        return sentence
    recommender = Recommender(bundle)
    users: Rows = np.arange(0, 100, 7, dtype=np.int32)
    seen = [bundle.seen.row(int(user)) for user in users]
    for user, top, known in zip(users, recommender.recommend(users, 5, seen), seen, strict=True):
        scores = contents.item_vectors @ contents.user_vectors[user]
        np.testing.assert_allclose(top.scores, scores[top.item_idx], atol=1e-4)
        assert not np.isin(top.item_idx, known).any()
        history, weights = bundle.history(int(user))
        assert fold_in(bundle, bundle.item_vectors[history], weights) is not None
    orjson.dumps([bundle.config, bundle.report])
    return None


def damaged(whole: Path, tmp_path: Path, name: str, content: bytes) -> Path:
    directory = shutil.copytree(whole, tmp_path / "bundle", dirs_exist_ok=True)
    (directory / name).unlink()
    (directory / name).write_bytes(content)
    seal(directory)
    return directory


@pytest.mark.parametrize(("whole", "name"), EACH, indirect=["whole"])
def test_a_file_that_is_damaged_or_foreign(
    whole: Path, contents: BundleContents, tmp_path: Path, name: str
) -> None:
    content = (whole / name).read_bytes()
    variants = FOREIGN | {
        "half": content[: len(content) // 2],
        "one byte less": content[:-1],
        "twice": content * 2,
        "reversed": content[::-1],
        **{other: (whole / other).read_bytes() for other in FILES if (whole / other).exists()},
        "the manifest": (whole / MANIFEST).read_bytes(),
    }
    refused = 0
    for what, changed in variants.items():
        directory = damaged(whole, tmp_path, name, changed)
        sentence = one_sentence_or_right(directory, contents)
        refused += sentence is not None
        if name.endswith(".json"):
            tolerated = what in ("no numbers", "config.json", "report.json", "the manifest")
            assert (sentence is None) == tolerated, what
        elif what in FOREIGN:
            assert sentence is not None, what
            # The products of `exact_search.onnx` are those of the vectors in another file.
            assert name in sentence or name == "item_vectors.npy", what
    assert refused > len(FOREIGN) - 2
    assert one_sentence_or_right(damaged(whole, tmp_path, name, content), contents) is None


@pytest.mark.parametrize(("whole", "name"), EACH, indirect=["whole"])
def test_bytes_that_are_flipped(
    whole: Path, contents: BundleContents, tmp_path: Path, name: str
) -> None:
    """With a checksum that fits, so that the readers of the formats see them."""
    rng = np.random.default_rng(11)
    content = (whole / name).read_bytes()
    for _ in range(4):
        changed = bytearray(content)
        # The headers: what follows is data, of which only a checksum can tell.
        for place in rng.integers(0, min(120, len(content)), 3):
            changed[place] ^= 1 << int(rng.integers(8))
        directory = damaged(whole, tmp_path, name, bytes(changed))
        one_sentence_or_right(directory, contents)


def shifted(change: Callable[[np.ndarray], None]) -> Callable[[bytes], bytes]:
    def apply(content: bytes) -> bytes:
        array = np.load(io.BytesIO(content)).copy()
        change(array)
        return npy(array)

    return apply


def put(place: int, value: int) -> Callable[[bytes], bytes]:
    def change(array: np.ndarray) -> None:
        array[place] = value

    return shifted(change)


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("seen_indptr.npy", put(0, 1), "not ascending from 0"),
        ("seen_indptr.npy", put(1, 10**6), "not ascending from 0"),
        ("seen_indptr.npy", put(-1, -1), "expected int32"),
        ("seen_indices.npy", put(3, 120), "ascending numbers below 120"),
        ("seen_indices.npy", put(0, -1), "ascending numbers below 120"),
        ("seen_indices.npy", put(-1, 10**6), "ascending numbers below 120"),
    ],
)
def test_interactions_outside_of_the_items(
    whole: Path, tmp_path: Path, name: str, change: Callable[[bytes], bytes], reason: str
) -> None:
    directory = damaged(whole, tmp_path, name, change((whole / name).read_bytes()))
    with pytest.raises(BundleError, match=reason):
        Bundle.load(directory)


def test_an_index_of_another_kind(whole: Path, tmp_path: Path) -> None:
    directory = shutil.copytree(whole, tmp_path / "bundle")
    kind = Manifest.read(directory).index.kind
    other: Any = "ivf" if kind == "flat" else "flat"
    seal(directory, index=IndexInfo(kind=other, nprobe=4, recall=1.0))
    with pytest.raises(BundleError, match=r"items\.faiss: is not of the kind"):
        Bundle.load(directory)


def test_an_index_of_other_vectors(whole: Path, tmp_path: Path) -> None:
    kind = Manifest.read(whole).index.kind
    with pytest.MonkeyPatch.context() as patch:
        if kind != "flat":
            patch.setattr(index, "EXACT_BELOW", 100)
        foreign = make_contents(120, 120, 16, rng=np.random.default_rng(6))
        sample = index.Sample(foreign.user_vectors[:50], [NO_ITEMS] * 50)
        budget = 120 * 48 if kind == "ivf_sq8" else index.BUDGET
        made = index.build_indexes(foreign.item_vectors, 16, sample, budget).index
    index.save_index(made, tmp_path / "foreign")
    directory = damaged(whole, tmp_path, "items.faiss", (tmp_path / "foreign").read_bytes())
    with pytest.raises(BundleError, match=r"items\.faiss: does not return the inner products"):
        Bundle.load(directory)


@pytest.mark.parametrize(
    "content",
    [*FOREIGN.values(), b"{}", json.dumps({"created_at": "0001-01-01T00:00:00+14:00"}).encode()],
    ids=[*FOREIGN, "no fields", "one field"],
)
def test_a_foreign_manifest(whole: Path, tmp_path: Path, content: bytes) -> None:
    directory = shutil.copytree(whole, tmp_path / "bundle")
    (directory / MANIFEST).unlink()
    (directory / MANIFEST).write_bytes(content)
    with pytest.raises(BundleError, match=MANIFEST):
        Bundle.load(directory)


def test_a_time_that_is_none(whole: Path, tmp_path: Path) -> None:
    directory = shutil.copytree(whole, tmp_path / "bundle")
    made = Manifest.read(directory).created_at
    for year in (1, 9999):
        seal_path = directory / MANIFEST
        changed = Manifest.read(whole).model_copy(update={"created_at": made.replace(year=year)})
        seal_path.unlink()
        seal_path.write_bytes(changed.to_bytes())
        with pytest.raises(BundleError, match="created_at"):
            Bundle.load(directory)
