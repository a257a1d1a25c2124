"""Digests of what the images install.

`python scripts/hashes.py >requirements.hashes`: pip resolves the packages of the images with the
versions of requirements.lock and says which file of the package index it takes for each
architecture. PyTorch is left out: which of its wheels is right depends on the machine, and each
index has its own.

`python scripts/hashes.py REPORT >FILE`: the lines of requirements.hashes for what a report of pip's
`--report` lists, in the form that `pip install --require-hashes --requirement FILE` reads.
"""

import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

LOCK, HASHES = Path("requirements.lock"), Path("requirements.hashes")
EXTRAS = "azure,content,gcs,otel,s3,train"
SETS = ([f".[{EXTRAS},service]", "async-timeout"], [f".[{EXTRAS},gpu]"])
"""Contents that images may have; ONNX Runtime is one of two packages. redis needs async-timeout
before Python 3.11.3, and Debian 12 has 3.11.2."""
GLIBC = range(5, 37)
"""Minor versions of glibc that a wheel may need; Debian 12 has 2.36."""
ONLY_X86 = re.compile(r"nvidia-.*|cuda-.*|triton|onnxruntime-gpu")
"""Packages for GPUs, which have no wheels for ARM or other ones."""
UNHASHED = {"torch", "drepmrec"}


def files(machine: str, *requirements: str) -> Iterator[tuple[str, str, str]]:
    """Canonical name, version and SHA-256 of the wheels that pip takes for an architecture."""
    tags = [f"manylinux_2_{minor}_{machine}" for minor in GLIBC]
    tags += [f"manylinux{year}_{machine}" for year in (1, 2010, 2014)] + [f"linux_{machine}"]
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        options = ["--quiet", "--dry-run", "--ignore-installed", "--only-binary=:all:"]
        options += ["--python-version=3.11", *(f"--platform={tag}" for tag in tags)]
        command = [sys.executable, "-m", "pip", "install", *options, f"--target={folder}"]
        command += [f"--report={report}", f"--constraint={LOCK}", *requirements]
        subprocess.run(command, check=True)
        for name, package in hashed(report):
            digest = package["download_info"]["archive_info"]["hashes"]["sha256"]
            yield name, package["metadata"]["version"], digest


def hashed(report: Path) -> Iterator[tuple[str, Any]]:
    """Canonical names and entries of a report, without the packages that are not hashed."""
    for package in json.loads(report.read_text())["install"]:
        name = re.sub(r"[-_.]+", "-", package["metadata"]["name"]).lower()
        if name not in UNHASHED:
            yield name, package


def chosen(report: Path) -> list[str]:
    """The lines for a report.

    Raises:
        SystemExit: there is none for a package.
    """
    lines = {line.partition("==")[0]: line for line in HASHES.read_text().splitlines()}
    names = [name for name, _ in hashed(report)]
    if missing := ", ".join(name for name in names if name not in lines):
        raise SystemExit(f"{HASHES} has no digest for {missing}")
    return [lines[name] for name in names]


def resolved() -> Iterator[str]:
    """The lines for all that images may contain."""
    digests: dict[str, set[str]] = defaultdict(set)
    for wanted in SETS:
        for name, version, digest in files("x86_64", *wanted):
            digests[f"{name}=={version}"].add(digest)
    # pip evaluates conditions for the machine that it runs on: the same packages, without theirs.
    for_arm = [pin for pin in digests if not ONLY_X86.fullmatch(pin.partition("==")[0])]
    for name, version, digest in files("aarch64", "--no-deps", *for_arm):
        digests[f"{name}=={version}"].add(digest)
    for pin, found in sorted(digests.items()):
        yield " ".join([pin, *(f"--hash=sha256:{digest}" for digest in sorted(found))])


if __name__ == "__main__":
    print(*(chosen(Path(sys.argv[1])) if sys.argv[1:] else resolved()), sep="\n")
