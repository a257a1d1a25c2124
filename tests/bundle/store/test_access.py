"""Object stores that cannot be used: buckets, credentials, endpoints, packages."""

import os
import subprocess
import sys
import time
from pathlib import Path

import fsspec
import pytest

from bundle.errors import StoreError
from bundle.store import object_store as object_storage
from bundle.store.store import BundleStore
from tests.support.data.bundles import publish
from tests.support.running.object_stores import (
    BUCKET,
    RunningMoto,
    StoreBackend,
    s3_environment,
    silent_server,
    use_s3,
)
from tests.support.waiting import DEADLINE


@pytest.mark.slow
def test_a_bucket_that_is_not_there(s3_backend: StoreBackend) -> None:
    store = BundleStore("s3://no-such-bucket/shop", s3_backend.cache)
    for use in (store.current, store.live_version, store.versions, lambda: publish(store)):
        with pytest.raises(StoreError, match="there is no bucket 'no-such-bucket'"):
            use()


@pytest.mark.slow
def test_wrong_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_no_credentials(
    s3_backend: StoreBackend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(StoreError, match=r"s3://.*/CURRENT: Unable to locate credentials"):
        s3_backend.store().current()


def test_an_endpoint_where_nothing_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_s3(monkeypatch, s3_environment(1))
    started = time.monotonic()
    with pytest.raises(StoreError, match=r"^s3://models/shop/CURRENT: Could not connect"):
        BundleStore("s3://models/shop", tmp_path).current()
    assert time.monotonic() - started < DEADLINE


@pytest.mark.slow
def test_an_endpoint_that_never_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = object_storage.PATIENCE["s3"]["config_kwargs"] | {"read_timeout": 0.2}
    monkeypatch.setitem(object_storage.PATIENCE, "s3", {"config_kwargs": config})
    with silent_server() as port:
        use_s3(monkeypatch, s3_environment(port))
        started = time.monotonic()
        with pytest.raises(StoreError, match=r"^s3://models/shop/CURRENT: Read timeout"):
            BundleStore("s3://models/shop", tmp_path).current()
    assert time.monotonic() - started < 55  # and not the 60 of a client without the limit


def test_an_extra_that_is_not_installed(tmp_path: Path) -> None:
    code = """
import sys
sys.modules["s3fs"] = sys.modules["gcsfs"] = sys.modules["adlfs"] = None
from bundle.store.store import BundleStore
for url in ("s3://b/a", "gs://b/a", "az://b/a"):
    try:
        BundleStore(url).current()
    except Exception as error:
        print(type(error).__name__, error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"HOME": str(tmp_path)},
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


def test_the_clients_own_settings_are_kept(
    s3_backend: StoreBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(fsspec.config.conf, "s3", {"config_kwargs": {"read_timeout": 3}})
    files, path = object_storage.open_file_system(s3_backend.url)
    assert files.config_kwargs == {"read_timeout": 3}
    assert path == s3_backend.prefix
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in s3_backend.url
