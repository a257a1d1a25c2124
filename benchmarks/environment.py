"""Environment of a measurement: machine, versions, command line, digest of the code, real data.

Every published number carries these lines, so that it can be repeated or distrusted.
"""

import argparse
import hashlib
import os
import platform
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]
CODE = (
    "benchmarks/quality/cold_start/__main__.py",
    "benchmarks/quality/cold_start/holdouts.py",
    "benchmarks/quality/missing_modalities.py",
    "benchmarks/quality/cold_start/new_items.py",
    "benchmarks/quality/cold_start/new_users.py",
    "benchmarks/quality/runner.py",
    "bundle/csr.py",
    "models",
    "training",
)
"""Files and folders that decide a run's result: data, split, model, fit, evaluation."""
SERVING = ("fastapi", "starlette", "uvicorn", "uvloop", "faiss-cpu", "numpy", "orjson")
"""Packages whose versions matter for the speed of the service."""
LAYOUT = 2
"""Number of the rule by which `code_digest` chooses its files. Digests of different layouts cannot
be compared. 1: models/**/*.py and training/*.py, when `training` was one flat folder; runs without
the field have it. 2: CODE, folders recursively, paths included."""


def hardware() -> str:
    """Processor model and number of cores."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = (x.partition(":")[2].strip() for x in lines if x.startswith("model name"))
    return f"{next(models, platform.machine())}, {len(os.sched_getaffinity(0))} cores"


def describe(packages: tuple[str, ...]) -> str:
    """Lines for the end of a report: processor, cores, load, versions and command."""
    lines = [
        f"{hardware()}, load {os.getloadavg()[0]:.1f} at the end; "
        f"Python {platform.python_version()}",
        ", ".join(f"{name} {version(name)}" for name in packages),
        shlex.join([*_program(), *sys.argv[1:]]),
    ]
    return "\n".join(lines)


def peak_memory() -> float:
    """Peak resident memory of this process, in MiB.

    `ru_maxrss` would include the parent's memory from before this process was started.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def versions() -> dict[str, str | int]:
    """Versions of Python, of the numerical packages and of this code."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    found: dict[str, str | int] = {"python": platform.python_version()}
    found |= {name: version(name) for name in ("torch", "numpy", "scipy")}
    commit = described.stdout.strip() or "unknown"
    return found | {"commit": commit, "code": code_digest(), "layout": LAYOUT}


def code_digest(root: Path = ROOT) -> str:
    """Digest of the code that decides a run's result, 12 hexadecimal digits.

    A run with another digest, or another LAYOUT, may have another result today.

    Args:
        root: folder that contains the paths of CODE.

    Raises:
        FileNotFoundError: a path of CODE is missing or has no Python file.
    """
    digest = hashlib.sha256()
    for name in CODE:
        path = root / name
        files = [path] if path.is_file() else sorted(path.rglob("*.py"))
        if not files:
            raise FileNotFoundError(f"no Python files in {path}")
        for file in files:
            digest.update(f"{file.relative_to(root).as_posix()}\0".encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:12]


def is_by_this_code(made_by: dict[str, str | int]) -> bool:
    """True if `versions` of a stored run name the code of today."""
    return (made_by["code"], made_by.get("layout", 1)) == (code_digest(), LAYOUT)


def command_line(data: Path) -> str:
    """Command line of this process, with the data folder as $DREPMREC_DATA/NAME.

    Args:
        data: folder of the data set, as given on the command line.
    """
    given = [
        f"$DREPMREC_DATA/{data.resolve().name}" if argument == str(data) else shlex.quote(argument)
        for argument in sys.argv[1:]
    ]
    return " ".join([*_program(), *given])


def argument_parser(description: str | None) -> argparse.ArgumentParser:
    """Argument parser of the script that runs.

    Args:
        description: the script's docstring, printed by --help as it is.
    """
    return argparse.ArgumentParser(
        prog=" ".join(_program()),
        description=description,
        formatter_class=argparse.RawTextHelpFormatter,
    )


def _program() -> list[str]:
    spec = sys.modules["__main__"].__spec__
    return ["python", "-m", spec.name.removesuffix(".__main__") if spec else "benchmarks"]


def real_data(name: str) -> Path | None:
    """Folder of a real data set in $DREPMREC_DATA; None, after a message, where it is absent."""
    parent = os.environ.get("DREPMREC_DATA")
    if parent and (Path(parent) / name).is_dir():
        return Path(parent) / name
    print(f"no real data: {name} is not in the folder that DREPMREC_DATA names")
    return None
