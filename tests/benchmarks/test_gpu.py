"""Benchmark of a GPU beside the CPU, as far as it goes without a GPU."""

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from benchmarks.environment import ROOT
from benchmarks.training import gpu
from benchmarks.training.gpu import Part, graph, index, parts, run


def test_parts_measure_the_same_on_both_devices() -> None:
    for small in (True, False):
        planned = parts(small)
        on = {
            device: {(p.title, p.arguments) for p in planned if p.device == device}
            for device in ("cpu", "cuda")
        }
        assert on["cpu"] == on["cuda"]
        assert len(on["cpu"]) == 5


def test_what_a_part_prints() -> None:
    assert " s of CPU, peak " in graph(300, "cpu")
    assert index(1_000, "cpu").endswith("; flat, nprobe 0")


@pytest.mark.slow
def test_a_part_that_hangs_is_ended_with_its_processes(capfd: pytest.CaptureFixture[str]) -> None:
    fits = ("--sizes", "0.1", "--budget", "1000", "--skip-tiktok")
    part = Part("fits", 60, "fit_epoch", (*fits, "--set", "optim.max_epochs=1000000"), "cpu")
    assert run(part, 3) == "unfinished, ended after 3 s"
    for running in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # ended meanwhile
            assert b"optim.max_epochs=1000000" not in running.read_bytes()
    bad = Part("fits", 60, "fit_epoch", ("--sizes", "x"), "cpu")
    assert run(bad, 600) == "failed with exit status 2"
    assert "--sizes" in capfd.readouterr().err


def test_parts_beyond_the_limit_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu", "--cpu-only", "--small", "--limit", "0"])
    gpu.main()
    said = capsys.readouterr().out
    assert said.count("not run: no time left") == 5
    assert "on cuda" not in said
    assert "threads of PyTorch" in said


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.slow
def test_without_a_gpu_the_script_says_what_to_do() -> None:
    script = str(ROOT / "benchmarks/gpu.sh")
    said = subprocess.run(
        ["sh", script], env={"PYTHON": sys.executable}, capture_output=True, text=True, check=False
    )
    assert said.returncode == 2
    assert "--cpu-only measures the CPU alone" in said.stderr
