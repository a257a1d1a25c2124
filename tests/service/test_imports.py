"""Packages that a service must not load."""

import subprocess
import sys

import pytest

from tests.support.running.processes import clean_environment


@pytest.mark.slow
def test_the_service_loads_neither_torch_nor_training() -> None:
    check = "import sys, service.server; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", check],
        capture_output=True,
        text=True,
        check=True,
        env=clean_environment(),
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"torch", "models", "training", "scipy", "pandas", "transformers"}
