"""A key file of the tests over HTTP."""

from pathlib import Path

import pytest

from tests.support.running.api_keys import KEYS, entries


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys.json"
    path.write_text(entries(*KEYS))
    return path
