"""State and store of the tests of a refresh: a live bundle, and what a service writes."""

from pathlib import Path

import pytest

from bundle.store.store import BundleStore
from tests.support.data.event_logs import StateWriter, store_with_bundle


@pytest.fixture
def store(tmp_path: Path) -> BundleStore:
    return store_with_bundle(tmp_path / "store")


@pytest.fixture
def state_writer(store: BundleStore) -> StateWriter:
    return StateWriter(Path(store.root))
