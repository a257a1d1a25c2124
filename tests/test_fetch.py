"""`python -m bundle fetch`: what arrives is whole, or nothing is served from it."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from bundle_builders import make_contents

from bundle.store import BundleStore

ROOT = Path(__file__).parents[1]


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


def run(*arguments: BundleStore | str) -> subprocess.CompletedProcess[str]:
    words = command(*arguments)
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)


def before_the_live_one(store: BundleStore) -> str:
    version = store.manifest(store.current()).parent_version
    assert version is not None
    return version


def files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_the_live_bundle_arrives_and_is_live(source, target):
    done = run(source, target)
    assert done.returncode == 0, done.stderr
    version = source.current()
    assert version in done.stdout
    assert target.versions() == [target.current()] == [version]
    assert files(target.path(version)) == files(source.path(version))
    assert target.load().version == version


def test_a_version_that_is_asked_for_arrives_and_replaces_the_live_one(source, target):
    run(source, target)
    older = before_the_live_one(source)
    assert run(source, target, "--version", older).returncode == 0
    assert target.current() == older
    assert run(source, target, "--version", older).returncode == 0


def test_what_is_not_there_is_refused(source, target):
    done = run(source, target, "--version", "20200101T000000Z-00000000")
    assert done.returncode == 1
    assert "has no bundle '20200101T000000Z-00000000'" in done.stderr
    done = run(target, source)
    assert done.returncode == 1
    assert "nothing is published" in done.stderr
    assert run(source, target, "--newest").returncode == 2


def test_a_damaged_bundle_is_refused_and_the_one_before_stays_live(source, target):
    older, newer = before_the_live_one(source), source.current()
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


@pytest.mark.parametrize("delay", [0.1, 0.3, 0.5, 0.6, 0.7, 0.9])
def test_killed_at_any_moment_it_leaves_nothing_that_is_not_whole(source, target, delay):
    older = before_the_live_one(source)
    assert run(source, target, "--version", older).returncode == 0
    process = subprocess.Popen(command(source, target), cwd=ROOT, stdout=subprocess.DEVNULL)
    time.sleep(delay)
    process.kill()
    process.wait()
    assert target.load().version in source.versions()
    assert run(source, target).returncode == 0
    assert target.load().version == source.current()
    assert sorted(target.versions()) == sorted(source.versions())
