"""The clock of benchmarks/fit_epoch.py: what does not count does not move it."""

import pytest
import timed_fits


@pytest.fixture
def now(monkeypatch):
    """Wall and CPU seconds, which pass when the test says so."""
    seconds = [10.0, 5.0]
    monkeypatch.setattr(timed_fits.time, "perf_counter", lambda: seconds[0])
    monkeypatch.setattr(timed_fits.time, "process_time", lambda: seconds[1])

    def passes(wall, cpu):
        seconds[0] += wall
        seconds[1] += cpu

    return passes


def test_a_stopped_clock_stands_still_and_goes_on_from_there(now):
    clock = timed_fits.Clock()
    now(3, 2)
    assert (clock.wall, clock.cpu) == (3, 2)
    clock.stop()
    now(100, 50)
    assert (clock.wall, clock.cpu) == (3, 2)
    clock.go_on()
    assert (clock.wall, clock.cpu) == (3, 2)
    now(4, 1)
    assert (clock.wall, clock.cpu) == (7, 3)
    clock.stop()
    clock.go_on()
    assert (clock.wall, clock.cpu) == (7, 3)
