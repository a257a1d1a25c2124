"""Clock of benchmarks/training/timed_fits.py."""

from collections.abc import Callable

import pytest

from benchmarks.training import timed_fits

Passes = Callable[[float, float], None]
"""Lets wall and CPU seconds pass."""


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Passes:
    """Wall and CPU seconds, which pass when the test says so."""
    seconds = [10.0, 5.0]
    monkeypatch.setattr("time.perf_counter", lambda: seconds[0])
    monkeypatch.setattr("time.process_time", lambda: seconds[1])

    def passes(wall: float, cpu: float) -> None:
        seconds[0] += wall
        seconds[1] += cpu

    return passes


def test_a_stopped_clock_stands_still_and_goes_on_from_there(now: Passes) -> None:
    clock = timed_fits.Clock()
    now(3, 2)
    assert (clock.wall, clock.cpu) == (3, 2)
    clock.stop()
    now(100, 50)
    assert (clock.wall, clock.cpu) == (3, 2)
    clock.resume()
    assert (clock.wall, clock.cpu) == (3, 2)
    now(4, 1)
    assert (clock.wall, clock.cpu) == (7, 3)
    clock.stop()
    clock.resume()
    assert (clock.wall, clock.cpu) == (7, 3)
