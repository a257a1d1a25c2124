"""Threads of commands: on busy cores they do not wait for each other for long."""

import os
import sys

import pytest

from training.cli.lazy import SPINS, command_group, run
from training.cli.main import COMMANDS, SUMMARY


@pytest.mark.parametrize(("before", "then"), [(None, SPINS), ("7", "7")])
def test_threads_give_up_their_cores_soon(
    before: str | None, then: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", "")
    if before is None:
        monkeypatch.delenv("GOMP_SPINCOUNT")
    else:
        monkeypatch.setenv("GOMP_SPINCOUNT", before)
    monkeypatch.setattr(sys, "argv", ["training", "--help"])
    with pytest.raises(SystemExit):
        run(command_group(COMMANDS, SUMMARY), "training")
    assert os.environ["GOMP_SPINCOUNT"] == then
