"""Object stores: moto's S3 as a process, proxies that fail, and fsspec's other file systems.

The fixtures are loaded as a plugin by the `conftest.py` of the checkout.
"""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

from bundle.store import lease
from bundle.store import object_store as object_storage
from bundle.store.store import BundleStore
from tests.support.waiting import DEADLINE, wait_until

BUCKET = "models"
NUMBERS = count()


class RunningMoto:
    """moto's S3 on a free port."""

    def __init__(self, log: Path) -> None:
        self.log = log
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
                stdout=stderr,
                stderr=stderr,
            )
        self.environment = s3_environment(self.port)
        wait_until(self._listens, "moto")

    def _listens(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
            return True
        return False

    def downloads(self, name: str) -> int:
        """Number of requests for a file of a bundle."""
        return len(re.findall(rf'"(?:\S*m)?GET \S*/{re.escape(name)} ', self.log.read_text()))

    def close(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(DEADLINE)


def s3_environment(port: int, secret: str = "secret") -> dict[str, str]:
    """Environment variables that lead to S3 on a port of this machine."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def use_s3(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> Any:
    """Set those variables here; the file system reads and damages what a store wrote."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    files = fsspec.filesystem("s3")
    type(files).clear_instance_cache()
    return fsspec.filesystem("s3", use_listings_cache=False, skip_instance_cache=True)


class StoreBackend:
    """A place for a bundle store, with access to its objects and its download cache.

    Attributes:
        url: URL of the store.
        files: fsspec's file system.
        prefix: path of the store in `files`.
        cache: directory of downloaded bundles.
    """

    def __init__(self, url: str, files: Any, prefix: str, cache: Path) -> None:
        self.url, self.files, self.prefix, self.cache = url, files, prefix, cache

    def store(self, cache: Path | None = None) -> BundleStore:
        return BundleStore(self.url, cache or self.cache)

    def objects(self) -> list[str]:
        found = self.files.find(self.prefix)
        return sorted(path.removeprefix(f"{self.prefix}/") for path in found)

    def read(self, name: str) -> bytes:
        return bytes(self.files.cat_file(f"{self.prefix}/{name}"))

    def write(self, name: str, content: bytes) -> None:
        self.files.pipe_file(f"{self.prefix}/{name}", content)

    def remove(self, name: str) -> None:
        self.files.rm_file(f"{self.prefix}/{name}")

    def copies(self) -> list[str]:
        """Versions of the bundles in the cache."""
        return sorted(path.name for path in self.cache.glob("*/bundles/[!.]*"))


def use_file_system(monkeypatch: pytest.MonkeyPatch, files: Any, prefix: str) -> None:
    """Open this file system for every URL."""
    monkeypatch.setattr(object_storage, "open_file_system", lambda _: (files, prefix))


def skip_lease_settling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take leases without the wait that tells two publishers apart: there is only one."""
    monkeypatch.setattr(lease, "SETTLE", 0.0)


def expire_lease(backend: StoreBackend, name: str = "locks/publish") -> None:
    """Move the end of a lease into the past, as if its time had passed; none is none."""
    if name in backend.objects():
        entry = json.loads(backend.read(name))
        backend.write(name, json.dumps(entry | {"until": time.time() - 1}).encode())


class CuttingProxy:
    """A TCP proxy that ends connections after some bytes of the answers.

    Attributes:
        port: the port on which it listens.
        cuts: bytes after which each next connection is cut; empty for none.
        cut: number of connections that were cut.
    """

    def __init__(self, target_port: int) -> None:
        self.cuts: list[int] = []
        self.cut = 0
        self._target_port = target_port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = self._listening.accept()[0]
                limit = self.cuts.pop(0) if self.cuts else None
                threading.Thread(target=self._serve, args=(client, limit), daemon=True).start()

    def _serve(self, client: socket.socket, limit: int | None) -> None:
        with client, socket.create_connection(("127.0.0.1", self._target_port)) as server:
            back = threading.Thread(target=_pipe, args=(client, server, None), daemon=True)
            back.start()
            if not _pipe(server, client, limit):
                self.cut += 1
            for end in (client, server):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            back.join(DEADLINE)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(DEADLINE)


def _pipe(source: socket.socket, sink: socket.socket, limit: int | None) -> bool:
    """Copy; False if the limit was reached."""
    left = limit
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            if left is not None:
                data, left = data[:left], left - len(data)
            sink.sendall(data)
            if left is not None and left <= 0:
                return False
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
    return True


@contextlib.contextmanager
def silent_server() -> Iterator[int]:
    """The port of a server that accepts and never answers."""
    connections: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connections.append(listening.accept()[0])

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(DEADLINE)
    for connection in connections:
        connection.close()


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMoto]:
    running = RunningMoto(tmp_path_factory.mktemp("moto") / "log")
    yield running
    running.close()


@pytest.fixture
def s3_backend(moto: RunningMoto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoreBackend:
    """A prefix in moto's S3, for one test."""
    files = use_s3(monkeypatch, moto.environment)
    if not files.exists(BUCKET):
        files.mkdir(BUCKET)
    prefix = f"{BUCKET}/shop-{next(NUMBERS)}"
    return StoreBackend(f"s3://{prefix}", files, prefix, tmp_path / "cache")


@pytest.fixture
def memory_backend(tmp_path: Path) -> StoreBackend:
    """A store in fsspec's memory."""
    name = f"shop-{next(NUMBERS)}"
    files = fsspec.filesystem("memory")
    return StoreBackend(f"memory://{name}", files, f"/{name}", tmp_path / "cache")


class AtomicLocalFileSystem(LocalFileSystem):
    """A file system whose files appear whole, as objects do.

    fsspec's own files can be read while they are still empty.
    """

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> None:
        handle, part = tempfile.mkstemp()
        os.close(handle)
        super().pipe_file(part, value, **options)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        if mode == "create":
            try:
                os.link(part, path)
            finally:
                Path(part).unlink()
        else:
            Path(part).replace(path)


@pytest.fixture
def local_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoreBackend:
    """A store in fsspec's local file system, used as an object store."""
    files, prefix = AtomicLocalFileSystem(auto_mkdir=True), str(tmp_path / "objects")
    use_file_system(monkeypatch, files, prefix)
    return StoreBackend("memory://elsewhere", files, prefix, tmp_path / "cache")
