"""Bundles in a local directory: damaged ones are refused, a kill leaves the live one whole.

Tests of all kinds of stores are in test_backends.py.
"""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from bundle.errors import BundleError, StoreError
from bundle.format.manifest import MANIFEST, Manifest
from bundle.format.reader import Bundle
from bundle.store.store import BundleStore
from tests.support.data.bundles import publish
from tests.support.running.processes import count_files, environment_with_tests, kill_when


@pytest.fixture
def store(tmp_path: Path) -> BundleStore:
    return BundleStore(tmp_path / "store")


def test_vectors_are_memory_mapped(store: BundleStore) -> None:
    publish(store)
    bundle = store.load()
    assert isinstance(bundle.item_vectors.base, np.memmap)


def test_a_store_that_cannot_be_written_is_noticed_before_long_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"/file/.*: Not a directory"):
        BundleStore(tmp_path / "file" / "store").check_usable()


def every_file(tmp_path: Path) -> list[str]:
    store = BundleStore(tmp_path)
    return [MANIFEST, *store.manifest(publish(store)).files]


FILES = [
    "config.json",
    "encoder_sample.npz",
    "exact_search.onnx",
    "item_encoder.onnx",
    "item_parts.npy",
    "item_vectors.npy",
    "items.arrow",
    "items.faiss",
    "popularity.npy",
    "report.json",
    "seen_indices.npy",
    "seen_indptr.npy",
    "seen_weights.npy",
    "user_encoder.onnx",
    "user_vectors.npy",
    "users.arrow",
]


def test_the_list_of_files_is_complete(tmp_path: Path) -> None:
    assert every_file(tmp_path) == [MANIFEST, *FILES]


@pytest.mark.parametrize("name", [MANIFEST, *FILES])
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_damage_to_any_file_is_refused_with_its_name(
    store: BundleStore, name: str, damage: str
) -> None:
    path = store.path(publish(store)) / name
    raw = bytearray(path.read_bytes())
    match damage:
        case "flip":
            raw[len(raw) // 2] ^= 1
            path.write_bytes(raw)
        case "truncate":
            path.write_bytes(raw[: len(raw) // 2])
        case "remove":
            path.unlink()
    with pytest.raises(BundleError, match=name):
        store.load()


def rewrite(directory: Path, name: str, content: bytes) -> None:
    """Replace a file and its manifest entry: a bundle that is consistent and wrong."""
    (directory / name).write_bytes(content)
    raw = json.loads((directory / MANIFEST).read_bytes())
    raw["files"][name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (directory / MANIFEST).write_bytes(Manifest.model_validate(raw).to_bytes())


def npy(tmp_path: Path, array: np.ndarray) -> bytes:
    path = tmp_path / "array.npy"
    np.save(path, array)
    return path.read_bytes()


def test_wrong_content_with_right_checksums_is_refused(store: BundleStore, tmp_path: Path) -> None:
    directory = store.path(publish(store))
    whole = {path.name: path.read_bytes() for path in directory.iterdir()}
    vectors = np.load(directory / "item_vectors.npy")
    not_finite = vectors.copy()
    not_finite[7, 1] = np.nan
    cases = {
        "item_vectors.npy": [
            (npy(tmp_path, not_finite), "row 7 is not finite"),
            (npy(tmp_path, vectors[:-1]), "expected float32"),
            (npy(tmp_path, vectors.astype(np.float64)), "float64"),
            (b"not an array", "cannot be read"),
        ],
        "items.faiss": [(b"no index", "FAISS cannot read it")],
        "item_encoder.onnx": [
            (b"no network", "ONNX Runtime cannot load it"),
            (whole["user_encoder.onnx"], "has inputs"),
        ],
        "users.arrow": [
            (whole["items.arrow"], "user_id"),
            (b"no table", "cannot be read"),
        ],
    }
    for name, variants in cases.items():
        for content, message in variants:
            rewrite(directory, name, content)
            with pytest.raises(BundleError, match=message) as refused:
                Bundle.load(directory)
            assert name in str(refused.value)
        for file, content in whole.items():
            (directory / file).write_bytes(content)
    assert Bundle.load(directory).version == directory.name


@pytest.mark.parametrize("name", ["users.arrow", "items.faiss", "encoder_sample.npz"])
def test_a_file_that_the_manifest_does_not_name_is_not_opened(
    store: BundleStore, name: str
) -> None:
    directory = store.path(publish(store))
    manifest = Manifest.read(directory)
    files = {file: entry for file, entry in manifest.files.items() if file != name}
    altered = manifest.model_copy(update={"files": files})
    (directory / "manifest.json").write_bytes(altered.to_bytes())
    with pytest.raises(BundleError, match=f"{name}: is not in the manifest"):
        Bundle.load(directory)


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_find_the_same_damage(store: BundleStore, threads: int) -> None:
    directory = store.path(publish(store))
    assert Bundle.load(directory, threads).version == directory.name
    for name in ("config.json", "item_parts.npy"):  # the first and one of the last
        path = directory / name
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(BundleError, match=f"{name}: checksum differs from the manifest"):
            Bundle.load(directory, threads)
        path.write_bytes(whole)


def test_an_encoder_that_does_not_make_the_stored_sample_is_refused(store: BundleStore) -> None:
    first, second = publish(store, 0), publish(store, 1)
    other = (store.path(second) / "item_encoder.onnx").read_bytes()
    rewrite(store.path(first), "item_encoder.onnx", other)
    with pytest.raises(BundleError, match=r"item_encoder.onnx: differs from the stored sample"):
        Bundle.load(store.path(first))


def test_a_bundle_under_another_name_is_refused(store: BundleStore) -> None:
    version = publish(store)
    moved = version[:-8] + "00000000"
    store.path(version).rename(store.path(version).parent / moved)
    with pytest.raises(BundleError, match=f"belongs to another bundle, {version}"):
        store.load(moved)


def test_a_second_publisher_is_refused(store: BundleStore) -> None:
    publish(store)
    with (
        FileLock(Path(store.root) / ".publish.lock").acquire(),
        pytest.raises(StoreError, match="another process is publishing"),
    ):
        publish(store, 1)


PUBLISHER = """
import sys
from bundle.store.store import BundleStore
from tests.support.data.bundles import publish
store = BundleStore(sys.argv[1])
print("ready", flush=True)
for seed in range(1000):
    publish(store, seed)
    print("published", flush=True)
"""


@pytest.mark.slow
def test_kill_9_during_publish_leaves_a_whole_live_bundle(store: BundleStore) -> None:
    """Killed when a bundle has so many of its files, each in the next of several processes."""
    publish(store)
    killed_while_staging = 0
    for n_files in (1, 2, 3, 5, 7, 9, 11, 13, 15, 16):
        process = subprocess.Popen(
            [sys.executable, "-c", PUBLISHER, str(store.root)],
            stdout=subprocess.PIPE,
            env=environment_with_tests(),
        )
        assert process.stdout is not None

        def has_files(n_files: int = n_files) -> bool:
            return count_files(Path(store.root), "bundles/.staging-*/*") >= n_files

        with process.stdout as lines:
            assert lines.readline() == b"ready\n"
            kill_when(process, has_files)
        killed_while_staging += any((Path(store.root) / "bundles").glob(".staging-*"))
        for version in store.versions():
            store.verify(version)
        assert store.load().version == store.current()
    assert killed_while_staging, "no kill hit the moment that this test is about"
    version = publish(store, 2000)
    assert store.current() == version
    assert not list((Path(store.root) / "bundles").glob(".staging-*"))
