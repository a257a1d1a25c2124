"""The model of exact search in a bundle: checked when it is opened, and optional."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from bundle.errors import BundleError
from bundle.format.manifest import MANIFEST, Manifest
from bundle.format.reader import Bundle
from bundle.format.scorer import EXACT_SEARCH
from bundle.search.recommender import Recommender
from bundle.store.store import BundleStore
from tests.support.data.bundles import publish


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    store = BundleStore(tmp_path)
    return store.path(publish(store))


def write_manifest(directory: Path) -> None:
    """A manifest that fits the files as they are now."""
    raw = json.loads((directory / MANIFEST).read_bytes())
    contents = {
        path.name: path.read_bytes() for path in directory.iterdir() if path.name != MANIFEST
    }
    raw["files"] = {
        name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in sorted(contents.items())
    }
    (directory / MANIFEST).write_bytes(Manifest.model_validate(raw).to_bytes())


def other_rows(directory: Path) -> bytes:
    """The model with its constant one row further on in the file."""
    model = onnx.load(str(directory / EXACT_SEARCH), load_external_data=False)
    (items,) = model.graph.initializer
    where = {entry.key: entry for entry in items.external_data}
    rows, dim = items.dims
    del items.dims[:]
    items.dims.extend([rows - 1, dim])
    where["offset"].value = str(int(where["offset"].value) + 4 * dim)
    where["length"].value = str(int(where["length"].value) - 4 * dim)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda _: b"no model", "ONNX Runtime cannot load it"),
        (lambda directory: (directory / "user_encoder.onnx").read_bytes(), "has inputs"),
        (other_rows, "does not return the inner products"),
    ],
)
def test_a_wrong_model_under_the_right_checksum_is_refused(
    directory: Path, damage: Callable[[Path], bytes], message: str
) -> None:
    (directory / EXACT_SEARCH).write_bytes(damage(directory))
    write_manifest(directory)
    with pytest.raises(BundleError, match=rf"{EXACT_SEARCH}: .*{message}"):
        Bundle.load(directory)


def test_a_bundle_without_the_model_is_searched_as_well(directory: Path) -> None:
    with_model = Bundle.load(directory)
    (directory / EXACT_SEARCH).unlink()
    write_manifest(directory)
    without = Bundle.load(directory)
    assert with_model.item_scorer is not None
    assert without.item_scorer is None
    queries = np.asarray(with_model.user_vectors[:20])
    excluded = [with_model.history(user)[0] for user in range(20)]
    tops = Recommender(with_model).search(queries, 5, excluded)
    for expected, found in zip(
        tops, Recommender(without).search(queries, 5, excluded), strict=True
    ):
        assert expected.item_idx.tolist() == found.item_idx.tolist()
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)
