"""`python -m training` as a user runs it."""

import subprocess
import sys
from pathlib import Path


def training(*arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run it to its end, which has this exit code and is no traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "training", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    return done
