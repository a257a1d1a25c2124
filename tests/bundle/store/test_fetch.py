"""`python -m bundle fetch`: the target has a whole bundle, or the one that it had before."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bundle.store.store import BundleStore
from tests.support.data.bundles import make_contents
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture
def source(tmp_path: Path) -> BundleStore:
    store = BundleStore(tmp_path / "source")
    for seed in range(2):
        rng = np.random.default_rng(seed)
        parent = store.live_version()
        store.publish(make_contents(60, 40, 8, rng=rng, parent_version=parent))
    return store


@pytest.fixture
def target(tmp_path: Path) -> BundleStore:
    return BundleStore(tmp_path / "target")


def command(source: BundleStore, target: BundleStore, *options: str) -> list[str]:
    paths = [str(source.root), str(target.root)]
    return [sys.executable, "-W", "error", "-m", "bundle", "fetch", *paths, *options]


def run(
    source: BundleStore, target: BundleStore, *options: str
) -> subprocess.CompletedProcess[str]:
    words = command(source, target, *options)
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)


def parent_of_the_live_one(store: BundleStore) -> str:
    version = store.manifest(store.current()).parent_version
    assert version is not None
    return version


def files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_the_live_bundle_becomes_the_live_one_of_the_target(
    source: BundleStore, target: BundleStore
) -> None:
    done = run(source, target)
    assert done.returncode == 0, done.stderr
    version = source.current()
    assert version in done.stdout
    assert target.versions() == [target.current()] == [version]
    assert files(target.path(version)) == files(source.path(version))
    assert target.load().version == version


def test_a_version_that_is_given_becomes_the_live_one(
    source: BundleStore, target: BundleStore
) -> None:
    run(source, target)
    older = parent_of_the_live_one(source)
    assert run(source, target, "--version", older).returncode == 0
    assert target.current() == older
    assert run(source, target, "--version", older).returncode == 0


def test_missing_bundles_and_wrong_options_are_refused(
    source: BundleStore, target: BundleStore
) -> None:
    done = run(source, target, "--version", "20200101T000000Z-00000000")
    assert done.returncode == 1
    assert "has no bundle '20200101T000000Z-00000000'" in done.stderr
    done = run(target, source)
    assert done.returncode == 1
    assert "nothing is published" in done.stderr
    assert run(source, target, "--newest").returncode == 2


def test_a_damaged_bundle_is_refused_and_the_live_one_stays(
    source: BundleStore, target: BundleStore
) -> None:
    older, newer = parent_of_the_live_one(source), source.current()
    run(source, target, "--version", older)
    vectors = source.path(newer) / "item_vectors.npy"
    whole = vectors.read_bytes()
    vectors.write_bytes(whole[:-4] + b"\0\0\0\1")
    done = run(source, target)
    assert done.returncode == 1
    assert "item_vectors.npy" in done.stderr
    assert target.current() == older
    assert target.versions() == [older]
    vectors.write_bytes(whole)
    assert run(source, target).returncode == 0
    assert target.current() == newer


@pytest.mark.parametrize("share", [0.1, 0.5, 0.7, 0.8, 0.9, 0.95])
def test_a_kill_at_any_moment_leaves_whole_bundles_only(
    source: BundleStore, target: BundleStore, share: float
) -> None:
    """After a share of the time that a whole run takes."""
    older = parent_of_the_live_one(source)
    started = time.monotonic()
    assert run(source, target, "--version", older).returncode == 0
    seconds = time.monotonic() - started
    process = subprocess.Popen(command(source, target), cwd=ROOT, stdout=subprocess.DEVNULL)
    time.sleep(share * seconds)
    process.kill()
    process.wait()
    assert target.load().version in source.versions()
    assert run(source, target).returncode == 0
    assert target.load().version == source.current()
    assert sorted(target.versions()) == sorted(source.versions())
