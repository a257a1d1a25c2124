"""How much memory is left: of the machine, and of the container's limit."""

from collections.abc import Iterator
from pathlib import Path

from service.cpu import CGROUP

MEMINFO = Path("/proc/meminfo")


def available_memory(cgroup: Path = CGROUP, meminfo: Path = MEMINFO) -> int | None:
    """Bytes that this process may still take; None where it cannot be told."""
    return min([*_of_machine(meminfo), *_of_container(cgroup)], default=None)


def _of_machine(meminfo: Path) -> Iterator[int]:
    try:
        lines = meminfo.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) * 1024


def _of_container(cgroup: Path) -> Iterator[int]:
    v1 = cgroup / "memory"
    for limit, usage, stat in (
        (cgroup / "memory.max", cgroup / "memory.current", cgroup / "memory.stat"),
        (v1 / "memory.limit_in_bytes", v1 / "memory.usage_in_bytes", v1 / "memory.stat"),
    ):
        try:
            most, taken = limit.read_text().strip(), int(usage.read_text())
            lines = stat.read_text().splitlines()
        except OSError:
            continue
        if most != "max":
            # The page cache of files that nobody looks at is given back when memory is wanted.
            cached = [int(line.split()[1]) for line in lines if line.startswith("inactive_file ")]
            yield int(most) - taken + sum(cached)
