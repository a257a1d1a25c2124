"""Processes that tests start: their environment, their ports, their end."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.support.paths import ROOT
from tests.support.waiting import DEADLINE, wait_until

AT_LATEST = 10.0
"""Seconds after which `kill_when` kills in any case."""


def free_port() -> int:
    """A TCP port on which nothing listened a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment without settings of the service."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("DREPMREC_")}
    return kept | more


def environment_with_tests(**more: str) -> dict[str, str]:
    """The environment of a Python process that imports the package `tests`, not installed."""
    path = [str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, path))} | more


def service_command(*options: str) -> list[str]:
    """`python -m service`; a warning is an error."""
    return [sys.executable, "-W", "error", "-m", "service", *options]


def run_service(*options: str, **environment: str) -> tuple[int, str]:
    """Exit code and output of a service that ends by itself."""
    done = subprocess.run(
        service_command(*options),
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE,
        env=clean_environment(**environment),
    )
    return done.returncode, done.stdout + done.stderr


def only_line(output: str) -> str:
    """The service's message, which must be all of its output."""
    lines = output.splitlines()
    assert len(lines) == 1, output
    assert lines[0].startswith("python -m service: ")
    return lines[0]


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far, which other processes do not change."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def count_files(folder: Path, pattern: str) -> int:
    """Number of paths that match; 0 if a folder disappears during the search."""
    with suppress(FileNotFoundError):
        return len(list(folder.glob(pattern)))
    return 0


def kill_when(process: subprocess.Popen[Any], condition: Callable[[], object]) -> None:
    """SIGKILL as soon as a condition holds, or after AT_LATEST: it may be too short to be seen."""
    end = time.monotonic() + AT_LATEST
    while not condition() and time.monotonic() < end:
        assert process.poll() is None, "the process ended by itself"
    process.kill()
    process.wait()


def suspend(pid: int) -> None:
    """Stop a process until SIGCONT, and return when all of its threads have stopped.

    A signal is only queued when `os.kill` returns: a process that runs on another core may still
    answer a request after that.
    """
    os.kill(pid, signal.SIGSTOP)

    def has_stopped() -> bool:
        stats = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat")]
        # The state follows the name, which stands in parentheses and may contain spaces.
        return all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats)

    wait_until(has_stopped, f"a stopped process {pid}", poll=0.001)
