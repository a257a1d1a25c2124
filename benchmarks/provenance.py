"""What a number was made by: versions and the code itself."""

import hashlib
import platform
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import models


def versions() -> dict[str, str]:
    """Of Python, of what computes, and of this code."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    found = {"python": platform.python_version()}
    found |= {name: version(name) for name in ("torch", "numpy", "scipy")}
    return found | {"commit": described.stdout.strip() or "unknown", "code": code()}


def command(folder: Path) -> str:
    """The command that was given, without the place of the data on this machine."""
    given = [
        f"$DREPMREC_DATA/{folder.resolve().name}"
        if argument == str(folder)
        else shlex.quote(argument)
        for argument in sys.argv[1:]
    ]
    return f"python benchmarks/{Path(sys.argv[0]).name} {' '.join(given)}"


def code() -> str:
    """A digest of what is fitted: a result of an earlier one may not be what it would be now."""
    root = Path(models.__file__).parent.parent
    files = [*(root / "models").rglob("*.py"), *(root / "training").glob("*.py")]
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
