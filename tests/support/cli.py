"""`python -m training` in a process, as users run it, and in the processes of `torchrun`."""

import subprocess
import sys
from pathlib import Path

from tests.support.running.processes import environment_with_tests

FAST = ["--set", "model.dim=16", "--set", "model.negatives=256", "--threads", "1"]
"""Options of a fit that takes seconds."""


def training(*arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; the exit code is checked, a traceback is a failure."""
    done = subprocess.run(
        [sys.executable, "-m", "training", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    return done


def torchrun(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run two processes of `torchrun` to their end, which must be a good one."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc_per_node", "2"),
            *map(str, arguments),
        ],
        env=environment_with_tests(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done
