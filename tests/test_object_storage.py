"""Object stores that fail: what is not whole is refused with its name, what is live stays live."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from bundle_builders import publish
from fsspec.implementations.memory import MemoryFileSystem
from object_stores import (
    BUCKET,
    CuttingProxy,
    ObjectPlace,
    RunningMoto,
    no_settling,
    python_environment,
    s3_environment,
    silent_server,
    use_file_system,
    use_s3,
)

from bundle import object_storage, retention
from bundle.errors import BundleError, StoreError
from bundle.loading import verify_files
from bundle.manifest import MANIFEST, Manifest
from bundle.store import BundleStore

DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "flipped": lambda raw: (
        raw[: len(raw) // 2] + bytes([raw[len(raw) // 2] ^ 1]) + raw[len(raw) // 2 + 1 :]
    ),
    "truncated": lambda raw: raw[: len(raw) // 2],
    "empty": lambda _: b"",
    "gone": lambda _: None,
}


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    no_settling(monkeypatch)


@pytest.fixture(params=["memory", "s3"])
def place(request) -> ObjectPlace:
    return request.getfixturevalue(f"{request.param}_place")


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_to_any_object_is_refused_with_its_name(place, damage, tmp_path):
    version = publish(place.store())
    files = [MANIFEST, *place.store().manifest(version).files]
    for number, name in enumerate(files):
        key = f"bundles/{version}/{name}"
        raw = place.read(key)
        damaged = DAMAGES[damage](raw)
        if damaged is None:
            place.remove(key)
        else:
            place.write(key, damaged)
        cache = tmp_path / f"cache-{number}"
        for use in (place.store(cache).load, lambda c=cache: place.store(c).verify(version)):
            if name == MANIFEST and damage == "gone":
                with pytest.raises(StoreError, match=version):
                    use()
            else:
                with pytest.raises(BundleError, match=f"^{place.url}/{key}: "):
                    use()
        assert not list(cache.glob("*/bundles/*"))
        place.write(key, raw)
    assert place.store(tmp_path / "whole").verify(version).version() == version


class Failing(MemoryFileSystem):
    """Memory whose writes fail, or are cut, from a number on."""

    cachable = False
    writes = 0
    fails_at = 0
    cuts = False

    def _write(self, path: str, content: bytes, mode: str) -> None:
        self.writes += 1
        if self.writes >= self.fails_at:
            if not self.cuts:
                raise ConnectionResetError(104, "Connection reset by peer")
            content = content[: len(content) // 2]
        super().pipe_file(path, content, mode=mode)

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
        self._write(path, value, mode)

    def put_file(self, lpath: str, rpath: str, **_: Any) -> None:
        self._write(rpath, Path(lpath).read_bytes(), "overwrite")


def failing(monkeypatch: pytest.MonkeyPatch, place: ObjectPlace, at: int, cuts: bool) -> Failing:
    files = Failing()
    files.fails_at, files.cuts = at, cuts
    use_file_system(monkeypatch, files, place.prefix)
    return files


def test_a_publisher_without_connection_at_any_write_changes_nothing(memory_place, monkeypatch):
    place = memory_place
    live = publish(place.store())
    writes = 1 + 16 + 1  # the lease, the files and the pointer
    for at in range(1, writes + 1):
        failing(monkeypatch, place, at, cuts=False)
        with pytest.raises(StoreError, match=rf"^{place.url}/.*: .*Connection reset by peer"):
            publish(place.store(), at)
        assert place.store().load().version == live
        place.store().verify(live)
    files = failing(monkeypatch, place, 1000, cuts=False)
    second = publish(place.store(), 100)
    assert files.writes == writes
    # One was whole, only the pointer was missing; the others' leftovers are gone.
    assert len(place.store().versions()) == 3
    assert place.store().load().version == second
    assert {name.split("/")[1] for name in place.objects() if "/" in name} == set(
        place.store().versions()
    )


def test_what_was_uploaded_is_read_again(memory_place, monkeypatch):
    place = memory_place
    live = publish(place.store())
    before = place.objects()
    for at in range(2, 18):  # each file
        failing(monkeypatch, place, at, cuts=True)
        with pytest.raises(BundleError, match=rf"^{place.url}/bundles/.*/\w+\.\w+: "):
            publish(place.store(), at)
        assert place.objects() == before
    assert place.store().load().version == live


class Lagging(MemoryFileSystem):
    """Memory whose listings are those of a while ago."""

    cachable = False
    seen: list[str] | None = None

    def find(self, path: str, **options: Any) -> Any:
        now = super().find(path, **options)
        return now if self.seen is None else [p for p in self.seen if p.startswith(path)]

    def ls(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("only `find` is used")


def test_listings_that_lag_behind_hide_nothing_that_is_live(memory_place, monkeypatch, tmp_path):
    place = memory_place
    first = publish(place.store())
    files = Lagging()
    files.seen = files.find(place.prefix)
    use_file_system(monkeypatch, files, place.prefix)
    second, third = publish(place.store(), 1), publish(place.store(), 2)
    assert place.store(tmp_path / "other").load().version == third
    assert place.store().versions() == sorted([first, third])  # `second` is not listed yet
    assert place.store().manifest(second).parent_version == first
    assert place.store().rollback() == second
    retention.pin(place.store(), first)
    assert retention.collect(place.store(), keep=1) == []
    for version in (first, second, third):
        place.store(tmp_path / "other").verify(version)
    # It still shows files of a bundle that is gone, and none of a manifest that is there.
    files.seen = [p for p in Lagging().find(place.prefix) if not p.endswith(MANIFEST)]
    publish(place.store(), 3)
    for version in (first, second, third):
        place.store(tmp_path / "other").verify(version)


def test_a_bucket_that_is_not_there(s3_place):
    store = BundleStore("s3://no-such-bucket/shop", s3_place.cache)
    for use in (store.current, store.live_version, store.versions, lambda: publish(store)):
        with pytest.raises(StoreError, match="there is no bucket 'no-such-bucket'"):
            use()


def test_wrong_credentials(tmp_path, monkeypatch):
    monkeypatch.setenv("INITIAL_NO_AUTH_ACTION_COUNT", "0")
    moto = RunningMoto(tmp_path / "log")
    try:
        use_s3(monkeypatch, s3_environment(moto.port, secret="s3cr3t-of-somebody"))
        store = BundleStore(f"s3://{BUCKET}/shop", tmp_path / "cache")
        for use in (store.current, store.versions, lambda: publish(store)):
            with pytest.raises(StoreError, match=r"^s3://models/shop/\w+: access is refused") as no:
                use()
            assert "s3cr3t" not in str(no.value)
    finally:
        moto.close()


def test_no_credentials(s3_place, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(StoreError, match=r"s3://.*/CURRENT: Unable to locate credentials"):
        s3_place.store().current()


def test_nobody_at_the_endpoint(tmp_path, monkeypatch):
    use_s3(monkeypatch, s3_environment(1))
    started = time.monotonic()
    with pytest.raises(StoreError, match=r"^s3://models/shop/CURRENT: Could not connect"):
        BundleStore("s3://models/shop", tmp_path).current()
    assert time.monotonic() - started < 10


def test_an_endpoint_that_never_answers(tmp_path, monkeypatch):
    config = object_storage.PATIENCE["s3"]["config_kwargs"] | {"read_timeout": 0.2}
    monkeypatch.setitem(object_storage.PATIENCE, "s3", {"config_kwargs": config})
    with silent_server() as port:
        use_s3(monkeypatch, s3_environment(port))
        started = time.monotonic()
        with pytest.raises(StoreError, match=r"^s3://models/shop/CURRENT: Read timeout"):
            BundleStore("s3://models/shop", tmp_path).current()
    assert time.monotonic() - started < 30


def test_an_extra_that_is_not_installed(tmp_path):
    code = """
import sys
sys.modules["s3fs"] = sys.modules["gcsfs"] = sys.modules["adlfs"] = None
from bundle.store import BundleStore
for url in ("s3://b/a", "gs://b/a", "az://b/a"):
    try:
        BundleStore(url).current()
    except Exception as error:
        print(type(error).__name__, error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=python_environment({"HOME": str(tmp_path)}),
        capture_output=True,
        text=True,
        check=True,
    )
    for line, url, extra in zip(
        done.stdout.splitlines(), ("s3", "gs", "az"), ("s3", "gcs", "azure"), strict=True
    ):
        assert line.startswith(
            f"StoreError {url}://b/a: {url}:// needs pip install 'drepmrec[{extra}]'"
        )


def test_connections_that_break_give_the_bundle_or_an_error(moto, s3_place, monkeypatch, tmp_path):
    version = publish(s3_place.store())
    manifest = s3_place.store().manifest(version)
    proxy = CuttingProxy(moto.port)
    rng = np.random.default_rng(0)
    loaded = refused = 0
    try:
        use_s3(monkeypatch, s3_environment(proxy.port))
        for attempt in range(30):
            store = s3_place.store(tmp_path / f"cache-{attempt % 3}")
            store.storage.forget(version)
            proxy.cuts = rng.integers(0, 9000, rng.integers(1, 40)).tolist()
            try:
                assert store.load().version == version
                loaded += 1
            except StoreError as error:
                assert "s3://" in str(error)
                refused += 1
            for copy in tmp_path.glob("cache-*/*/bundles/2*"):
                verify_files(copy, manifest)
        proxy.cuts = []
        assert s3_place.store(tmp_path / "last").load().version == version
    finally:
        proxy.close()
    assert proxy.cut > 50
    assert loaded


PUBLISHER = """
import sys
from pathlib import Path
from bundle import lease
from bundle.store import BundleStore
from bundle_builders import publish
lease.SECONDS, lease.SETTLE = 1.0, 0.02
store = BundleStore(sys.argv[1], Path(sys.argv[2]))
print("ready", flush=True)
for seed in range(1000):
    publish(store, seed)
    print("published", flush=True)
"""


def test_kill_9_during_publish_leaves_a_whole_live_bundle(moto, s3_place, tmp_path):
    store = s3_place.store()
    publish(store)
    rng = np.random.default_rng(0)
    cut_short = 0
    for _ in range(10):
        process = subprocess.Popen(
            [sys.executable, "-c", PUBLISHER, s3_place.url, str(tmp_path / "publisher")],
            stdout=subprocess.PIPE,
            env=python_environment(moto.environment),
        )
        assert process.stdout is not None
        with process.stdout as lines:
            assert lines.readline() == b"ready\n"
            time.sleep(rng.uniform(0.8, 2.5))
            process.send_signal(signal.SIGKILL)
            process.wait()
        folders = {name.split("/")[1] for name in s3_place.objects() if "/" in name}
        cut_short += len(folders - set(store.versions()))
        fresh = s3_place.store(tmp_path / "reader")
        assert fresh.load().version == fresh.current()
        for version in fresh.versions():
            fresh.storage.check(version)
        time.sleep(max(0.0, lease_left(s3_place)))
    assert cut_short, "no kill hit the moment that this test is about"
    version = publish(store, 2000)
    assert store.current() == version
    folders = {name.split("/")[1] for name in s3_place.objects() if "/" in name}
    assert folders == set(store.versions())
    assert "locks/publish" not in s3_place.objects()


def lease_left(place: ObjectPlace) -> float:
    """Seconds that a killed publisher's lease lasts."""
    if "locks/publish" not in place.objects():
        return 0.0
    return float(json.loads(place.read("locks/publish"))["until"]) - time.time()


def test_kill_9_of_whoever_downloads_leaves_no_half_copy(moto, s3_place, tmp_path):
    version = publish(s3_place.store(tmp_path / "publisher"))
    manifest = s3_place.store().manifest(version)
    code = """
import sys
from pathlib import Path
from bundle.store import BundleStore
store = BundleStore(sys.argv[1], Path(sys.argv[2]))
store.live_version()
print("ready", flush=True)
while True:
    store.storage.forget(store.current())
    store.load()
"""
    rng = np.random.default_rng(0)
    half = 0
    for _ in range(12):
        process = subprocess.Popen(
            [sys.executable, "-c", code, s3_place.url, str(s3_place.cache)],
            stdout=subprocess.PIPE,
            env=python_environment(moto.environment),
        )
        assert process.stdout is not None
        with process.stdout as lines:
            assert lines.readline() == b"ready\n"
            time.sleep(rng.uniform(0.02, 0.4))
            process.send_signal(signal.SIGKILL)
            process.wait()
        half += bool(list(s3_place.cache.glob("*/bundles/.staging-*")))
        for copy in s3_place.copies():
            [path] = s3_place.cache.glob(f"*/bundles/{copy}")
            verify_files(path, manifest)
            assert Manifest.read(path) == manifest
    assert half, "no kill hit the moment that this test is about"
    assert s3_place.store().load().version == version
    assert not list(s3_place.cache.glob("*/bundles/.staging-*"))


def test_the_clients_own_settings_are_kept(s3_place, monkeypatch):
    monkeypatch.setitem(fsspec.config.conf, "s3", {"config_kwargs": {"read_timeout": 3}})
    files, path = object_storage.open_file_system(s3_place.url)
    assert files.config_kwargs == {"read_timeout": 3}
    assert path == s3_place.prefix
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in s3_place.url
