"""The commands of docs/guide/operations.md that need no cluster, run as they are on the page."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from bundle.store.store import BundleStore
from tests.support.data.event_logs import StateWriter, event, store_with_bundle
from tests.support.paths import DOCS

pytestmark = pytest.mark.slow

PAGE = (DOCS / "guide" / "operations.md").read_text()


def commands(section: str) -> list[str]:
    """The lines of a section's blocks that run this project's commands."""
    text = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    lines = [
        line for block in re.findall(r"```\n(.*?)```", text, re.S) for line in block.split("\n")
    ]
    return [line.partition("#")[0].strip() for line in lines if line.startswith("python -m ")]


def run(line: str, **names: object) -> str:
    words = shlex.split(line.partition(">")[0])
    words = [str(names.get(word, word)) for word in words]
    done = subprocess.run([sys.executable, *words[1:]], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{line}\n{done.stderr}"
    return done.stdout


@pytest.fixture
def store(tmp_path: Path) -> BundleStore:
    return store_with_bundle(tmp_path / "store")


def test_refresh_and_roll_back(store: BundleStore) -> None:
    first = store.current()
    StateWriter(Path(store.root)).add_events([event("new", "item-1")])
    dry, refresh = commands("Refresh")
    assert "--dry-run" in dry
    run(dry, STORE=store.root)
    assert store.versions() == [first]
    run(refresh, STORE=store.root)
    second = store.current()
    assert "new" in store.load().users
    rollback = commands("Roll back")
    for line in rollback:
        run(line, STORE=store.root, VERSION=second)
    assert [line.split()[4] for line in rollback] == ["list", "rollback", "pin", "collect"]
    assert store.current() == first
    assert store.versions() == [first, second]


def test_a_lost_store_is_restored_from_its_copy(store: BundleStore, tmp_path: Path) -> None:
    StateWriter(Path(store.root)).add_events([event("new", "item-1")])
    run(commands("Refresh")[-1], STORE=store.root)
    version = store.current()
    [fetch] = commands("Restore")
    run(fetch, STORE=store.root, BACKUP=tmp_path / "backup")
    assert f"`{fetch.replace('STORE BACKUP', 'BACKUP STORE')}`" in PAGE
    run(fetch, STORE=tmp_path / "backup", BACKUP=tmp_path / "restored")
    assert "new" in BundleStore(tmp_path / "restored").load(version).users


def test_a_rotated_key_is_made() -> None:
    [make] = commands("Rotate keys")
    key, entry = run(make).splitlines()
    assert key.startswith("drk_")
    assert '"name":"shop-2"' in entry
