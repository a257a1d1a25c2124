"""Timed fits of several sizes: whole epochs, projected ones, fitted growth."""

import math
from typing import Any

import pytest

from benchmarks.training.sizes import FEWEST_STEPS, exponent, one_size, print_growth, print_size
from training.fitting.config import FitConfig, RunOptions, load_config


@pytest.fixture
def config() -> FitConfig:
    small = ["optim.batch_size=64", "optim.batch_users=16", "model.dim=8"]
    return load_config(None, [*small, "optim.max_epochs=2"])


def test_a_fit_that_ends_in_time(config: FitConfig, capsys: pytest.CaptureFixture[str]) -> None:
    row = one_size("tiktok", 0.02, config, RunOptions(), 600)
    assert row["epochs"] == 2
    assert row["finished"]
    assert row["projected_from_steps"] is None
    assert row["epoch_cpu"] > 0
    assert 0 < row["epoch_seconds"] < 600
    assert row["setup_seconds"] < row["best_seconds"] < 600
    print_size(row)
    said = capsys.readouterr().out
    assert "0.02 × TikTok on cpu (186 users × 134 items, " in said
    assert "best valid after " in said
    assert "projected" not in said


@pytest.mark.parametrize("shape", ["tiktok", "movielens-1m"])
@pytest.mark.parametrize("parts", [0, 8])
def test_an_epoch_beyond_the_budget_is_projected(
    shape: str, parts: int, config: FitConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    model = config.model.model_copy(update={"history_parts": parts})
    row = one_size(shape, 0.02, config.model_copy(update={"model": model}), RunOptions(), 0)
    assert row["epochs"] == 0
    assert row["projected_from_steps"] == FEWEST_STEPS
    assert row["steps_per_epoch"] > FEWEST_STEPS
    if parts:  # users with one item have no step
        assert row["steps_per_epoch"] <= math.ceil(row["users"] / 16)
    else:
        assert row["steps_per_epoch"] == math.ceil(row["train"] / 64)
    assert row["epoch_seconds"] > 0
    print_size(row)
    said = capsys.readouterr().out
    assert f"(projected from {FEWEST_STEPS} of {row['steps_per_epoch']} steps)" in said
    assert "best valid" not in said


def test_as_many_steps_are_projected_as_an_epoch_has(
    config: FitConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    monkeypatch.setattr("benchmarks.training.sizes.Meter.after_step", lambda *_: steps.append(1))
    row = one_size("tiktok", 0.02, config, RunOptions(), 0)
    assert len(steps) == row["epochs"] * row["steps_per_epoch"]


def test_growth_is_fitted(capsys: pytest.CaptureFixture[str]) -> None:
    pairs = [100, 400, 1600]
    assert exponent(pairs, [3 * n**1.5 for n in pairs]) == pytest.approx(1.5)
    rows: list[dict[str, Any]] = [
        {
            "train": n,
            "epoch_seconds": n**2,
            "epoch_cpu": n**1.9,
            "setup_seconds": n,
            "setup_cpu": n,
            "peak_mib": 300 + n**0.5,
            "program_mib": 300,
            "cuda_mib": None,
        }
        for n in pairs
    ]
    print_growth(rows)
    said = capsys.readouterr().out
    assert "over 3 sizes, 100 to 1,600 pairs: epoch ^2.00, CPU time of an epoch ^1.90" in said
    assert "memory beyond the program's own ^0.50" in said
    print_growth(rows[:1])
    assert not capsys.readouterr().out
