"""Events and changes of items in a service's state, and refreshes that take them in."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bundle.catalogue.overlay import ItemChange
from bundle.events.records import Event, pack_change
from bundle.format.reader import Bundle
from bundle.store.store import BundleStore
from service.observability.metrics import Metrics
from service.state.base import NewChange, NewEvent, State
from service.state.sqlite import LocalState
from tests.support.data.bundles import make_contents
from tests.support.running.servers import PATIENT
from training.refresh.pipeline import Outcome, RefreshOptions, refresh_bundle
from training.refresh.redis_client import RedisOptions
from training.refresh.sources import open_source

NOW = 1_700_000_000.0


def event(user: str, item: str, weight: float = 1.0, at: float = 0.0) -> Event:
    return Event(user, item, "view", NOW + at, weight)


def random_events(
    rng: np.random.Generator, n: int, n_users: int = 60, n_items: int = 40
) -> list[Event]:
    """n events of known and of a few new users; some are dislikes, some have unknown items."""
    return [
        event(
            f"user-{rng.integers(n_users + 5)}",
            f"item-{rng.integers(n_items + 2)}",
            float(rng.choice([1.0, 1.0, 2.5, -0.5])),
            float(at),
        )
        for at in range(n)
    ]


class StateWriter:
    """Writes into the SQLite state of a store, as a service does."""

    def __init__(self, store: Path) -> None:
        store.mkdir(parents=True, exist_ok=True)
        self.path = store / "state.sqlite3"

    def _with_state(self, work: Callable[[State], Awaitable[object]]) -> None:
        async def run() -> None:
            async with LocalState(self.path, Metrics(), PATIENT["state_timeout"]) as state:
                await work(state)

        asyncio.run(run())

    def add_events(self, events: Sequence[Event]) -> None:
        self._with_state(lambda state: state.add_events([NewEvent(each) for each in events]))

    def change_items(self, *changes: ItemChange) -> None:
        new = [NewChange("item", c.item_id, pack_change(c)) for c in changes]
        self._with_state(lambda state: state.add_changes(new))

    def erase_user(self, user: str) -> None:
        self._with_state(lambda state: state.erase_user(user))


def features(rng: np.random.Generator, **widths: int) -> Mapping[str, NDArray[np.float32]]:
    return {name: rng.standard_normal(width).astype(np.float32) for name, width in widths.items()}


def store_with_bundle(root: Path, seed: int = 0) -> BundleStore:
    """A local store with a live bundle of 60 users and 40 items."""
    store = BundleStore(root)
    store.publish(make_contents(60, 40, 8, rng=np.random.default_rng(seed)))
    return store


def run_refresh(store: BundleStore, *sources: str | Path, **options: object) -> Outcome:
    """A refresh from these sources, or from the store's own state."""
    named = sources or (Path(store.root) / "state.sqlite3",)
    opened = [open_source(str(source), RedisOptions()) for source in named]
    dry_run = bool(options.pop("dry_run", False))
    given = RefreshOptions(**{"say": lambda _: None, **options})  # type: ignore[arg-type]
    return refresh_bundle(store, opened, given, dry_run)


def history_of(bundle: Bundle, user: str) -> dict[str, float]:
    """Items that a bundle has of a user, with their weights."""
    row = bundle.users.get(user)
    assert row is not None
    items, weights = bundle.history(row)
    return {bundle.items[i]: w for i, w in zip(items.tolist(), weights.tolist(), strict=True)}


def archived_events(store: BundleStore) -> list[dict[str, object]]:
    """Rows of the archive that refreshes keep in a store."""
    paths = sorted((Path(store.root) / "events").iterdir())
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def assert_same(one: Bundle, other: Bundle) -> None:
    """Fail unless two bundles have the same content, bit for bit."""
    assert one.users.ids == other.users.ids
    assert one.items.ids == other.items.ids
    assert one.item_table.equals(other.item_table)
    assert one.manifest.taken == other.manifest.taken
    for name in ("user_vectors", "item_vectors", "item_parts", "seen_weights", "popularity"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    np.testing.assert_array_equal(one.seen.indptr, other.seen.indptr)
    np.testing.assert_array_equal(one.seen.indices, other.seen.indices)
