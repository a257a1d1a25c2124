"""The refresh: events and changes are in the next bundle, once, and as the service served them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from bundle.catalogue.catalogue import Catalogue
from bundle.catalogue.overlay import ItemChange
from bundle.events.history import fold_in, weigh
from bundle.events.records import Event
from bundle.format.reader import Bundle
from bundle.store.store import BundleStore
from tests.support.data.event_logs import (
    StateWriter,
    archived_events,
    event,
    features,
    history_of,
    random_events,
    run_refresh,
)
from training.refresh.pipeline import Outcome


def as_served(
    bundle: Bundle, user: str, events: list[Event]
) -> tuple[dict[str, float], NDArray[np.float32] | None]:
    """The history, by item_id, and the vector that the service has of a user."""
    row = bundle.users.get(user)
    before = (np.empty(0, np.int32), np.empty(0, np.float32))
    if row is not None:
        before = bundle.history(row)
    catalogue = Catalogue(bundle)
    mine = [each for each in events if each.user_id == user]
    history, weights = weigh(*before, catalogue, mine)
    names = [catalogue.item_id(item) for item in history.tolist()]
    vector = fold_in(bundle, catalogue.vectors(history), weights)
    return dict(zip(names, weights.tolist(), strict=True)), vector


@pytest.mark.slow
def test_users_are_as_the_service_served_them(
    store: BundleStore, state_writer: StateWriter
) -> None:
    before = store.load()
    events = random_events(np.random.default_rng(0), 300)
    state_writer.add_events(events)
    outcome = run_refresh(store)
    after = store.load()
    assert outcome.version == after.version
    assert after.manifest.parent_version == before.version
    active = {each.user_id for each in events}
    fresh = sorted(active - set(before.users.ids))
    assert fresh
    known = [e for e in events if e.item_id in before.items]
    assert sorted(after.users.ids[60:]) == sorted(
        {e.user_id for e in known} - set(before.users.ids)
    )
    assert after.users.ids[:60] == before.users.ids
    for user in after.users.ids:
        history, vector = as_served(before, user, events)
        assert history_of(after, user) == history
        row = after.users.get(user)
        if user in {e.user_id for e in known} and history != (
            history_of(before, user) if user in before.users else None
        ):
            expected = np.zeros(8) if vector is None else vector
            np.testing.assert_allclose(after.user_vectors[row], expected, atol=1e-6)
        else:
            np.testing.assert_array_equal(after.user_vectors[row], before.user_vectors[row])
    counts = np.zeros(40, np.int64)
    for user in after.users.ids:
        for item, weight in history_of(after, user).items():
            counts[after.items.get(item)] += weight > 0
    np.testing.assert_array_equal(after.popularity, counts)
    summary = after.report["refresh"]
    assert summary["new_events"] == 300
    assert summary["events_with_unknown_items"] == 300 - len(known) > 0


@pytest.mark.slow
def test_a_second_refresh_finds_nothing_new_and_a_third_takes_only_what_is_new(
    store: BundleStore, state_writer: StateWriter
) -> None:
    rng = np.random.default_rng(1)
    first, second = random_events(rng, 100), random_events(rng, 50)
    state_writer.add_events(first)
    version = run_refresh(store).version
    assert run_refresh(store) == Outcome(None, None)
    assert store.current() == version
    state_writer.add_events(second)
    before = store.load()
    run_refresh(store)
    after = store.load()
    assert after.report["refresh"]["new_events"] == 50
    assert after.manifest.taken.events == 2
    for user in {e.user_id for e in second if e.item_id in before.items}:
        assert history_of(after, user) == as_served(before, user, second)[0]
        # Events that the service still has say nothing that the bundle does not have.
        assert history_of(after, user) == as_served(after, user, first + second)[0]


def test_changes_of_items_are_carried_over(store: BundleStore, state_writer: StateWriter) -> None:
    rng = np.random.default_rng(2)
    before = store.load()
    seen = [before.items[i] for i in before.seen.row(0).tolist()]
    deleted, renamed, redone = seen[:3]
    of_new = features(rng, image=6)
    of_redone = features(rng, image=6, text=4)
    state_writer.change_items(
        ItemChange(deleted, deleted=True),
        ItemChange(renamed, columns={"title": "Another"}),
        ItemChange(redone, features=of_redone),
        ItemChange("fresh", features=of_new, columns={"title": "Fresh", "category": "new"}),
        ItemChange("wrong", features=features(rng, image=5)),
    )
    state_writer.add_events([event("user-3", "fresh"), event("user-4", renamed, 2.0)])
    run_refresh(store)
    after = store.load()
    assert after.items.ids == [i for i in before.items.ids if i != deleted] + ["fresh"]
    table = {row["item_id"]: row for row in after.item_table.to_pylist()}
    assert table[renamed] == {"item_id": renamed, "title": "Another", "category": None}
    assert table["fresh"] == {"item_id": "fresh", "title": "Fresh", "category": "new"}
    assert table[redone] == before.item_table.slice(before.items.get(redone), 1).to_pylist()[0]

    def encoded(given: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        rows = {
            n: given.get(n, np.zeros(w, np.float32))[None] for n, w in [("image", 6), ("text", 4)]
        }
        present = np.array([["image" in given, "text" in given]])
        vectors: NDArray[np.float32] = before.item_encoder.encode(rows, present)[0]
        return vectors

    vectors = {item: after.item_vectors[row] for row, item in enumerate(after.items.ids)}
    np.testing.assert_allclose(vectors["fresh"], encoded(of_new), atol=1e-6)
    np.testing.assert_allclose(vectors[redone], encoded(of_redone), atol=1e-6)
    np.testing.assert_array_equal(vectors[renamed], before.item_vectors[before.items.get(renamed)])
    assert deleted not in history_of(after, "user-0")
    assert history_of(after, "user-3")["fresh"] == 1
    # Users with an item whose vector changed are encoded again, the others are unchanged.
    for user, row in zip(before.users.ids, before.user_vectors, strict=True):
        changed = redone in history_of(before, user) or user in ("user-3", "user-4")
        same = np.array_equal(after.user_vectors[after.users.get(user)], row)
        assert same != changed, user
    assert after.manifest.taken.notes > before.manifest.taken.notes
    assert run_refresh(store) == Outcome(None, None)


def test_events_count_when_their_item_is_added_later(
    store: BundleStore, state_writer: StateWriter
) -> None:
    state_writer.add_events([event("user-1", "later"), event("nobody", "later", 3.0)])
    run_refresh(store)
    assert "nobody" not in store.load().users
    state_writer.change_items(
        ItemChange("later", features=features(np.random.default_rng(0), text=4))
    )
    run_refresh(store)
    after = store.load()
    assert history_of(after, "user-1")["later"] == 1
    assert history_of(after, "nobody") == {"later": 3.0}
    assert after.report["refresh"]["new_events"] == 0


@pytest.mark.slow
def test_erased_users_are_in_no_bundle_and_no_archive(
    store: BundleStore, state_writer: StateWriter, tmp_path: Path
) -> None:
    state_writer.add_events(
        [event("user-1", "item-1"), event("user-2", "item-1"), event("new", "item-2")]
    )
    run_refresh(store)
    for user in ("user-1", "new", "user-9"):
        state_writer.erase_user(user)
    state_writer.add_events([event("user-9", "item-3", 2.0)])
    assert {row["user_id"] for row in archived_events(store)} == {"user-1", "user-2", "new"}
    run_refresh(store)
    after = store.load()
    assert "user-1" not in after.users and "new" not in after.users
    assert history_of(after, "user-9") == {"item-3": 2.0}, "what came after the erasure counts"
    assert [row["user_id"] for row in archived_events(store)] == ["user-2", "user-9"]
    assert after.report["refresh"]["erased_users"] == 3
    # A file that is dropped later does not bring them back.
    pq.write_table(
        pa.table({"user_id": ["user-1", "user-5"], "item_id": ["item-1"] * 2}),
        tmp_path / "late.parquet",
    )
    run_refresh(store, Path(store.root) / "state.sqlite3", tmp_path / "late.parquet")
    assert "user-1" not in store.load().users
    assert history_of(store.load(), "user-5")["item-1"] == 1
    # Nor does the bundle before, when it is live again and refreshed.
    store.rollback(store.versions()[0])
    run_refresh(store)
    again = store.load()
    assert "user-1" not in again.users and "new" not in again.users
    assert history_of(again, "user-9") == {"item-3": 2.0}
    assert history_of(again, "user-5")["item-1"] == 1
