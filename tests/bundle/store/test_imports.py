"""Libraries that are loaded only when they are needed."""

import subprocess
import sys

import pytest

from bundle.store.store import BundleStore
from tests.support.data.bundles import publish

HEAVY = ("faiss", "onnx", "onnxruntime")


def loaded_by(code: str, *arguments: str) -> list[str]:
    """Those of HEAVY that a program loads."""
    ask = f"\nimport sys\nprint(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code + ask, *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> BundleStore:
    store = BundleStore(tmp_path_factory.mktemp("store"))
    publish(store)
    return store


def test_looking_into_a_store_loads_neither_faiss_nor_onnx_runtime(store: BundleStore) -> None:
    code = """
import sys
from pathlib import Path
from bundle.format.checksums import verify_files
from bundle.store import retention
from bundle.store.store import BundleStore
store = BundleStore(sys.argv[1])
version = store.current()
verify_files(store.path(version), store.manifest(version))
assert store.versions() == [version]
assert retention.collect(store, keep=1, dry_run=True) == []
"""
    assert loaded_by(code, str(store.root)) == []


def test_opening_a_bundle_does_not_load_what_writes_its_models(store: BundleStore) -> None:
    code = """
import sys
from bundle.store.store import BundleStore
BundleStore(sys.argv[1]).load()
"""
    assert loaded_by(code, str(store.root)) == ["faiss", "onnxruntime"]


def test_the_package_loads_what_it_exports_on_demand() -> None:
    assert loaded_by("import bundle, bundle.ids\nfrom bundle import BundleStore, InputError") == []
    assert loaded_by("from bundle import Recommender") == ["faiss"]
