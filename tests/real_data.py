"""Real data, where they are at hand; nothing of them is in this project."""

import os
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("DREPMREC_DATA", Path(__file__).parents[1] / "../shared/data"))


def real_data(name: str) -> Path:
    """The folder of a real data set; the test is skipped where there is none."""
    if not (FOLDER / name).is_dir():
        pytest.skip(f"no real data: {name} is not in the folder that DREPMREC_DATA names")
    return FOLDER / name
