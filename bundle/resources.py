"""CPU cores and memory that the machine and the container's limits allow.

FAISS, ONNX Runtime and BLAS share one budget of threads, taken from the container's CPU quota. It
is spent on several searches at a time and not on several threads for one search: OpenMP's threads
wait for each other, and if one does not get its core, all of them stall. On two busy cores a search
for 16 users took 22 ms with two threads and 0.5 ms with one.
"""

import os
from collections.abc import Iterator
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables that OpenMP and BLAS read when they are loaded."""


def available_cores(cgroup: Path = CGROUP) -> float:
    """Number of cores that this process may use: its affinity, cut by the container's quota."""
    return min([float(len(os.sched_getaffinity(0))), *_quotas(cgroup)])


def _quotas(cgroup: Path) -> Iterator[float]:
    candidates = (
        (cgroup / "cpu.max", None),
        (cgroup / "cpu" / "cpu.cfs_quota_us", cgroup / "cpu" / "cpu.cfs_period_us"),
    )
    for quota_file, period_file in candidates:
        try:
            words = quota_file.read_text().split()
            if period_file is not None:
                words += period_file.read_text().split()
        except OSError:
            continue
        if len(words) == 2 and words[0] not in ("max", "-1"):
            yield int(words[0]) / int(words[1])


def thread_budget(workers: int, cores: float | None = None) -> int:
    """Number of threads for each worker, at least 1."""
    return max(1, int((available_cores() if cores is None else cores) / workers))


def single_threaded_libraries() -> None:
    """Keep OpenMP and BLAS from starting threads of their own.

    Sets environment variables that are read when the libraries are loaded, so it must run before
    NumPy and FAISS are imported. Worker processes inherit them.
    """
    for name in THREAD_VARIABLES:
        os.environ[name] = "1"


def available_memory(cgroup: Path = CGROUP, meminfo: Path = MEMINFO) -> int | None:
    """Bytes that this process may still allocate; None where that cannot be told."""
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
            # The kernel drops inactive pages of the file cache when memory is needed.
            cached = [int(line.split()[1]) for line in lines if line.startswith("inactive_file ")]
            yield int(most) - taken + sum(cached)
