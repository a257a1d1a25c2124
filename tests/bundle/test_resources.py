"""CPU cores and memory that a process may use, by the files of control groups."""

import os
from pathlib import Path

import pytest

from bundle.resources import available_cores, available_memory, thread_budget


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, None),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu.max": "50000 100000"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "25000", "cpu/cpu.cfs_period_us": "100000"}, 0.25),
    ],
)
def test_cores_by_cpu_quota(tmp_path: Path, files: dict[str, str], cores: float | None) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    expected = len(os.sched_getaffinity(0)) if cores is None else cores
    assert available_cores(tmp_path) == expected


def test_workers_share_the_cores() -> None:
    assert [thread_budget(w, cores=4.0) for w in (1, 2, 3, 8)] == [4, 2, 1, 1]


def test_available_memory(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("900000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 50000\n")
    assert available_memory(tmp_path) == 150_000
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory(tmp_path, tmp_path / "none") is None
    assert available_memory(tmp_path) is not None
