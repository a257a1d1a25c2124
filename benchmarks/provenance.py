"""What a number was made by: versions, the code itself, the machine."""

import hashlib
import os
import platform
import subprocess
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


def code() -> str:
    """A digest of what is fitted: a result of an earlier one may not be what it would be now."""
    root = Path(models.__file__).parent.parent
    files = [*(root / "models").rglob("*.py"), *(root / "training").glob("*.py")]
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def hardware() -> str:
    """Processor and cores."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((x.partition(":")[2].strip() for x in lines if x.startswith("model name")), "CPU")
    return f"{model}, {len(os.sched_getaffinity(0))} cores"
