"""Real data sets, which are not part of this project."""

import os
from pathlib import Path

import pytest

from tests.support.paths import ROOT

FOLDER = Path(os.environ.get("DREPMREC_DATA", ROOT / "../shared/data"))


def real_data(name: str) -> Path:
    """The folder of a data set; without it the test is skipped."""
    if not (FOLDER / name).is_dir():
        pytest.skip(f"no real data: {name} is not in the folder that DREPMREC_DATA names")
    return FOLDER / name
