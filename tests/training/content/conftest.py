"""The exported default image encoder, for the tests of content."""

from pathlib import Path

import pytest

from training.content.default_encoders import default_image_encoder


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder in which the default image encoder was exported, once a test run."""
    folder = tmp_path_factory.mktemp("exported") / "drepmrec"
    default_image_encoder(folder, threads=2)
    return folder
