"""How many threads FAISS, ONNX Runtime and BLAS may use together.

They share one budget, taken from the container's CPU quota, and spend it on several searches at a
time, not on several threads for one search: OpenMP's threads wait for each other, and where one
does not get its core, all stand still. On two busy cores a search for 16 users took 22 ms with two
threads and 0.5 ms with one.
"""

import os
from collections.abc import Iterator
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def available_cores(cgroup: Path = CGROUP) -> float:
    """Cores that this process may use: its affinity, cut by the container's CPU quota."""
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
    """Threads for each of so many workers, at least 1."""
    return max(1, int((available_cores() if cores is None else cores) / workers))


def single_threaded_libraries() -> None:
    """Have OpenMP and BLAS start no threads of their own.

    Sets what they read when they are loaded: must run before NumPy and FAISS are imported. Worker
    processes inherit it.
    """
    for name in THREAD_VARIABLES:
        os.environ[name] = "1"
