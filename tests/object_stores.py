"""Object stores for tests: moto's server as a process, a way to it that fails, and others.

A plugin of pytest (`-p object_stores`), for its fixtures are those of all tests.
"""

import contextlib
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

from bundle import lease, object_storage
from bundle.store import BundleStore

BUCKET = "models"
NUMBERS = count()
DEADLINE = 30.0


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
        end = time.monotonic() + DEADLINE
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                break
            assert self.process.poll() is None, log.read_text()
            assert time.monotonic() < end, "moto does not listen"
            time.sleep(0.05)

    def downloads(self, name: str) -> int:
        """How often a file of a bundle was asked for."""
        return len(re.findall(rf'"(?:\S*m)?GET \S*/{re.escape(name)} ', self.log.read_text()))

    def close(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(DEADLINE)


def s3_environment(port: int, secret: str = "secret") -> dict[str, str]:
    """Variables by which a process finds it."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def use_s3(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> Any:
    """Let this process find it, and return a file system for looking and for damage."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    files = fsspec.filesystem("s3")
    type(files).clear_instance_cache()
    return fsspec.filesystem("s3", use_listings_cache=False, skip_instance_cache=True)


class ObjectPlace:
    """A store at a URL, with everything to look behind it.

    Attributes:
        url: of the store.
        files: fsspec's file system.
        prefix: of the store in it.
        cache: directory of copies.
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
        """Versions in the cache."""
        return sorted(path.name for path in self.cache.glob("*/bundles/[!.]*"))


def use_file_system(monkeypatch: pytest.MonkeyPatch, files: Any, prefix: str) -> None:
    """Let every URL lead to this one."""
    monkeypatch.setattr(object_storage, "open_file_system", lambda _: (files, prefix))


def no_settling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else comes."""
    monkeypatch.setattr(lease, "SETTLE", 0.0)


def python_environment(more: dict[str, str]) -> dict[str, str]:
    """For a Python process that imports what this one does."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)} | more


class CuttingProxy:
    """A TCP proxy that ends connections after some bytes of the answers.

    Attributes:
        port: where it listens.
        cuts: bytes after which each next connection is cut; empty for none.
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
def s3_place(moto: RunningMoto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectPlace:
    """A prefix of its own in moto's S3."""
    files = use_s3(monkeypatch, moto.environment)
    if not files.exists(BUCKET):
        files.mkdir(BUCKET)
    prefix = f"{BUCKET}/shop-{next(NUMBERS)}"
    return ObjectPlace(f"s3://{prefix}", files, prefix, tmp_path / "cache")


@pytest.fixture
def memory_place(tmp_path: Path) -> ObjectPlace:
    """In fsspec's memory."""
    name = f"shop-{next(NUMBERS)}"
    files = fsspec.filesystem("memory")
    return ObjectPlace(f"memory://{name}", files, f"/{name}", tmp_path / "cache")


class WholeFiles(LocalFileSystem):
    """Files appear whole, as objects do; fsspec's own can be read while they are still empty."""

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
def local_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectPlace:
    """fsspec's local file system, used as an object store."""
    files, prefix = WholeFiles(auto_mkdir=True), str(tmp_path / "objects")
    use_file_system(monkeypatch, files, prefix)
    return ObjectPlace("memory://elsewhere", files, prefix, tmp_path / "cache")
