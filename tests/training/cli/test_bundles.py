"""`bundles`: list, show, verify, pin, collect and roll back, in a folder and an object store."""

import json
import shutil
from pathlib import Path

import pytest

from bundle.store.store import BundleStore
from tests.support.cli import FAST, training
from tests.support.data.bundles import publish
from tests.support.running.object_stores import StoreBackend

pytestmark = pytest.mark.slow


def test_bundles_can_be_listed_shown_verified_and_rolled_back(
    fitted: tuple[Path, Path], tmp_path: Path
) -> None:
    data, source = fitted
    store = tmp_path / "store"
    shutil.copytree(source, store)
    first = BundleStore(store).current()
    again: list[str | Path] = ["fit", data, "--store", store, *FAST]
    again += ["--set", "optim.max_epochs=1", "--set", "model.linear_columns=0"]
    refused = training(*again, code=3)  # by the gate: it is worse than the live one
    assert "worse than the live bundle" in refused.stderr
    assert BundleStore(store).current() == first
    training(*again, "--force", "a test")
    second = BundleStore(store).current()
    listed = training("bundles", "list", "--store", store).stdout.splitlines()
    assert [line.split()[:2] for line in listed] == [[first, "500"], ["*", second]]
    shown = json.loads(training("bundles", "show", "--store", store).stdout)
    assert shown["parent_version"] == first
    assert training("bundles", "verify", "--store", store).stdout.count("whole") == 2
    assert first in training("bundles", "rollback", "--store", store).stdout
    assert BundleStore(store).current() == first
    path = store / "bundles" / second / "items.faiss"
    raw = bytearray(path.read_bytes())
    raw[100] ^= 1
    path.write_bytes(raw)
    refused = training("bundles", "verify", second, "--store", store, code=1)
    assert refused.stderr.startswith("error: ")
    assert "items.faiss" in refused.stderr
    (tmp_path / "empty").mkdir()
    training("bundles", "list", "--store", tmp_path / "empty")
    assert (
        "nothing is published"
        in training("bundles", "show", "--store", tmp_path / "empty", code=1).stderr
    )


def test_everything_works_on_an_object_store(
    fitted: tuple[Path, Path], s3_backend: StoreBackend, tmp_path: Path
) -> None:
    data, local = fitted
    copies = ["--cache", str(s3_backend.cache)]
    on_it = ["--store", s3_backend.url, *copies]
    epochs = ["--set", "optim.max_epochs=1"]
    refused = training("fit", data, "--store", "s3://nowhere/shop", *copies, code=1)
    assert "there is no bucket 'nowhere'" in refused.stderr
    assert "epoch" not in refused.stderr
    said = training("fit", data, *on_it, *FAST, *epochs).stdout
    first = s3_backend.store().current()
    assert f"published {first} in {s3_backend.url}" in said
    [run] = s3_backend.cache.glob("*/run")
    assert list(run.iterdir())
    found = training("evaluate", data, *on_it, "--json", "--no-baselines").stdout
    assert json.loads(found)["bundle_version"] == first
    bundles = ["--store", s3_backend.url]
    listed = training("bundles", "list", *bundles).stdout
    assert listed.startswith(f"* {first}  500 users")
    s3_backend.store().copy(BundleStore(local))
    second = BundleStore(local).current()
    training("bundles", "pin", min(first, second), *bundles)
    assert ", pinned" in training("bundles", "list", *bundles).stdout.splitlines()[0]
    assert training("bundles", "collect", *bundles, "--keep", "1").stdout == ""
    assert training("bundles", "verify", *on_it).stdout.count("whole") == 2
    assert first in training("bundles", "rollback", first, *on_it).stdout
    assert s3_backend.store(tmp_path / "other").load().version == first


def test_bundles_are_pinned_and_collected(fitted: tuple[Path, Path], tmp_path: Path) -> None:
    _, source = fitted
    store = tmp_path / "store"
    shutil.copytree(source, store)
    other = BundleStore(store)
    *gone, live = [*other.versions(), *(publish(other, seed) for seed in (1, 2))]
    assert len(gone) == 2
    training("bundles", "pin", gone[0], "--store", store)
    assert f"{gone[0]}  " in training("bundles", "list", "--store", store).stdout
    said = training("bundles", "collect", "--store", store, "--keep", "1", "--dry-run").stdout
    assert said == "".join(f"would be deleted: {v}\n" for v in gone[1:])
    training("bundles", "unpin", gone[0], "--store", store)
    assert "is not pinned" in training("bundles", "unpin", live, "--store", store, code=1).stderr
    said = training("bundles", "collect", "--store", store, "--keep", "1").stdout
    assert said == "".join(f"deleted: {v}\n" for v in gone)
    assert other.versions() == [live]
    assert (
        "--keep" in training("bundles", "collect", "--store", store, "--keep", "0", code=2).stderr
    )
