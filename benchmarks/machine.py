"""What every number needs beside it: hardware, load, versions, command; and where real data are."""

import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

REAL = Path(os.environ.get("DREPMREC_DATA", Path(__file__).parents[1] / "../shared/data"))


def hardware() -> str:
    """Processor and cores."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = (x.partition(":")[2].strip() for x in lines if x.startswith("model name"))
    return f"{next(models, platform.machine())}, {len(os.sched_getaffinity(0))} cores"


def describe(packages: tuple[str, ...]) -> list[str]:
    """Lines with processor, cores, load, versions and the command that was given."""
    load = os.getloadavg()[0]
    return [
        f"{hardware()}, load {load:.1f} at the end; Python {platform.python_version()}",
        ", ".join(f"{name} {version(name)}" for name in packages),
        "python " + " ".join(sys.argv),
    ]


def peak_memory() -> float:
    """Most memory that this process has held, in MiB.

    `ru_maxrss` would include what the parent held before it started this process.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def real_data(name: str) -> Path | None:
    """The folder of a real data set, or None and a line that says so."""
    folder = REAL / name
    if folder.is_dir():
        return folder
    print(f"no real data: {name} is not in the folder that DREPMREC_DATA names")
    return None
