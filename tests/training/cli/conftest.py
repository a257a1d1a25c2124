"""A shop and a store with a bundle fitted to it, for the tests of the commands."""

from pathlib import Path

import pytest

from tests.support.cli import FAST, training


@pytest.fixture(scope="session")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A demo shop with features, and a store with a bundle fitted to it; no test changes them."""
    root = tmp_path_factory.mktemp("fitted")
    data, store = root / "data", root / "store"
    training("demo", data, "--items", "400", "--users", "500")
    said = training("features", data, "--text", "title", "--image", "image").stdout
    assert "text_feat.npy: 400 items × 384" in said
    assert "image_feat.npy: 400 items × 1280" in said
    said = training("fit", data, "--store", store, *FAST, "--set", "optim.max_epochs=12").stdout
    assert "500 users × 400 items" in said
    assert "max abs difference" in said
    assert "published " in said
    return data, store
