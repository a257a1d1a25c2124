"""Object stores that fail: damaged objects are named, and the live bundle stays live."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from bundle.errors import BundleError, StoreError
from bundle.format.checksums import verify_files
from bundle.format.manifest import MANIFEST
from bundle.store import retention
from tests.support.data.bundles import publish
from tests.support.running.object_stores import (
    CuttingProxy,
    RunningMoto,
    StoreBackend,
    s3_environment,
    skip_lease_settling,
    use_file_system,
    use_s3,
)

DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "flipped": lambda raw: (
        raw[: len(raw) // 2] + bytes([raw[len(raw) // 2] ^ 1]) + raw[len(raw) // 2 + 1 :]
    ),
    "truncated": lambda raw: raw[: len(raw) // 2],
    "empty": lambda _: b"",
    "gone": lambda _: None,
}


@pytest.fixture(autouse=True)
def _skip_lease_settling(monkeypatch: pytest.MonkeyPatch) -> None:
    skip_lease_settling(monkeypatch)


@pytest.fixture(params=["memory", "s3"])
def backend(request: pytest.FixtureRequest) -> StoreBackend:
    made: StoreBackend = request.getfixturevalue(f"{request.param}_backend")
    return made


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_to_any_object_is_refused_with_its_name(
    backend: StoreBackend, damage: str, tmp_path: Path
) -> None:
    version = publish(backend.store())
    files = [MANIFEST, *backend.store().manifest(version).files]
    for number, name in enumerate(files):
        key = f"bundles/{version}/{name}"
        raw = backend.read(key)
        damaged = DAMAGES[damage](raw)
        if damaged is None:
            backend.remove(key)
        else:
            backend.write(key, damaged)
        cache = tmp_path / f"cache-{number}"
        for use in (backend.store(cache).load, lambda c=cache: backend.store(c).verify(version)):
            if name == MANIFEST and damage == "gone":
                with pytest.raises(StoreError, match=version):
                    use()
            else:
                with pytest.raises(BundleError, match=f"^{backend.url}/{key}: "):
                    use()
        assert not list(cache.glob("*/bundles/*"))
        backend.write(key, raw)
    assert backend.store(tmp_path / "whole").verify(version).version() == version


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


def failing(monkeypatch: pytest.MonkeyPatch, backend: StoreBackend, at: int, cuts: bool) -> Failing:
    files = Failing()
    files.fails_at, files.cuts = at, cuts
    use_file_system(monkeypatch, files, backend.prefix)
    return files


@pytest.mark.slow
def test_a_connection_that_fails_at_any_write_changes_nothing(
    memory_backend: StoreBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = memory_backend
    live = publish(backend.store())
    writes = 1 + 17 + 1  # the lease, the files and the pointer
    for at in range(1, writes + 1):
        failing(monkeypatch, backend, at, cuts=False)
        with pytest.raises(StoreError, match=rf"^{backend.url}/.*: .*Connection reset by peer"):
            publish(backend.store(), at)
        assert backend.store().load().version == live
        backend.store().verify(live)
    files = failing(monkeypatch, backend, 1000, cuts=False)
    second = publish(backend.store(), 100)
    assert files.writes == writes
    # One bundle was whole but for the pointer; the files of the others are gone.
    assert len(backend.store().versions()) == 3
    assert backend.store().load().version == second
    assert {name.split("/")[1] for name in backend.objects() if "/" in name} == set(
        backend.store().versions()
    )


def test_uploaded_files_are_read_again(
    memory_backend: StoreBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = memory_backend
    live = publish(backend.store())
    before = backend.objects()
    for at in range(2, 18):  # each file
        failing(monkeypatch, backend, at, cuts=True)
        with pytest.raises(BundleError, match=rf"^{backend.url}/bundles/.*/\w+\.\w+: "):
            publish(backend.store(), at)
        assert backend.objects() == before
    assert backend.store().load().version == live


class Lagging(MemoryFileSystem):
    """Memory with outdated listings."""

    cachable = False
    seen: list[str] | None = None

    def find(self, path: str, **options: Any) -> Any:
        now = super().find(path, **options)
        return now if self.seen is None else [p for p in self.seen if p.startswith(path)]

    def ls(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("only `find` is used")


def test_outdated_listings_hide_no_live_bundle(
    memory_backend: StoreBackend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    backend = memory_backend
    first = publish(backend.store())
    files = Lagging()
    files.seen = files.find(backend.prefix)
    use_file_system(monkeypatch, files, backend.prefix)
    second, third = publish(backend.store(), 1), publish(backend.store(), 2)
    assert backend.store(tmp_path / "other").load().version == third
    assert backend.store().versions() == sorted([first, third])  # `second` is not listed yet
    assert backend.store().manifest(second).parent_version == first
    assert backend.store().rollback() == second
    retention.pin(backend.store(), first)
    assert retention.collect(backend.store(), keep=1) == []
    for version in (first, second, third):
        backend.store(tmp_path / "other").verify(version)
    # It still shows files of a bundle that is gone, and none of a manifest that is there.
    files.seen = [p for p in Lagging().find(backend.prefix) if not p.endswith(MANIFEST)]
    publish(backend.store(), 3)
    for version in (first, second, third):
        backend.store(tmp_path / "other").verify(version)


@pytest.mark.slow
def test_with_broken_connections_a_load_succeeds_or_fails_cleanly(
    moto: RunningMoto, s3_backend: StoreBackend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    version = publish(s3_backend.store())
    manifest = s3_backend.store().manifest(version)
    proxy = CuttingProxy(moto.port)
    rng = np.random.default_rng(0)
    loaded = refused = 0
    try:
        use_s3(monkeypatch, s3_environment(proxy.port))
        for attempt in range(30):
            store = s3_backend.store(tmp_path / f"cache-{attempt % 3}")
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
        assert s3_backend.store(tmp_path / "last").load().version == version
    finally:
        proxy.close()
    assert proxy.cut > 50
    assert loaded
