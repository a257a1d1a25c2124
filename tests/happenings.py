"""What happens while a bundle is served, written down as the service does it."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from bundle_builders import make_contents
from numpy.typing import NDArray

from bundle.events import Event, pack_change
from bundle.loading import Bundle
from bundle.overlay import ItemChange
from bundle.store import BundleStore
from service.local_state import LocalState
from service.state import NewEvent, NewNote, State
from training.refresh.drops import open_source
from training.refresh.redis_client import RedisOptions
from training.refresh.round import Outcome, RefreshOptions, refresh

NOW = 1_700_000_000.0


def event(user: str, item: str, weight: float = 1.0, at: float = 0.0) -> Event:
    return Event(user, item, "view", NOW + at, weight)


def random_events(
    rng: np.random.Generator, n: int, n_users: int = 60, n_items: int = 40
) -> list[Event]:
    """Events of old and of a few new users, some of them against an item, or with unknown items."""
    return [
        event(
            f"user-{rng.integers(n_users + 5)}",
            f"item-{rng.integers(n_items + 2)}",
            float(rng.choice([1.0, 1.0, 2.5, -0.5])),
            float(at),
        )
        for at in range(n)
    ]


class Happenings:
    """Writes into the state of a store, as a service would."""

    def __init__(self, store: Path) -> None:
        store.mkdir(parents=True, exist_ok=True)
        self.path = store / "state.sqlite3"

    def _do(self, work: Any) -> None:
        async def run() -> None:
            async with LocalState(self.path) as state:
                await work(state)

        asyncio.run(run())

    def events(self, events: Sequence[Event]) -> None:
        self._do(lambda state: add_events(state, events))

    def items(self, *changes: ItemChange) -> None:
        self._do(lambda state: add_items(state, changes))

    def erase(self, user: str) -> None:
        self._do(lambda state: state.erase_user(user))


async def add_events(state: State, events: Sequence[Event]) -> None:
    await state.add_events([NewEvent(each) for each in events])


async def add_items(state: State, changes: Sequence[ItemChange]) -> None:
    await state.add_notes([NewNote("item", c.item_id, pack_change(c)) for c in changes])


def features(rng: np.random.Generator, **widths: int) -> Mapping[str, NDArray[np.float32]]:
    return {name: rng.standard_normal(width).astype(np.float32) for name, width in widths.items()}


def served_store(root: Path, seed: int = 0) -> BundleStore:
    """A store with a live bundle of 60 users and 40 items."""
    store = BundleStore(root)
    store.publish(make_contents(60, 40, 8, rng=np.random.default_rng(seed)))
    return store


def run(store: BundleStore, *sources: str | Path, **options: object) -> Outcome:
    named = sources or (store.root / "state.sqlite3",)
    opened = [open_source(str(source), RedisOptions()) for source in named]
    dry_run = bool(options.pop("dry_run", False))
    quiet = RefreshOptions(say=lambda _: None, **options)  # type: ignore[arg-type]
    return refresh(store, opened, quiet, dry_run)


def history_of(bundle: Bundle, user: str) -> dict[str, float]:
    row = bundle.users.get(user)
    assert row is not None
    items, weights = bundle.history(row)
    return {bundle.items[i]: w for i, w in zip(items.tolist(), weights.tolist(), strict=True)}


def archived(store: BundleStore) -> list[dict[str, object]]:
    paths = sorted((store.root / "events").iterdir())
    return [row for path in paths for row in pq.read_table(path).to_pylist()]
