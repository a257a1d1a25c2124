"""The audience of an item, compared with the ranking of all items for each user."""

import numpy as np
import pytest

from bundle.catalogue.catalogue import Catalogue
from bundle.catalogue.overlay import ItemChange, Overlay, build_overlay, columns_now
from bundle.format.reader import Bundle
from bundle.search.audience import likely_users, ranks
from bundle.store.store import BundleStore
from bundle.types import NO_ITEMS, Rows, Vector
from tests.support.data.bundles import make_contents


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    store = BundleStore(tmp_path_factory.mktemp("store"))
    store.publish(make_contents(80, 60, 8, rng=np.random.default_rng(5)))
    return store.load()


def overlay(bundle: Bundle, vectors: dict[str, Vector], deleted: list[str]) -> Overlay:
    changes = [ItemChange(name, features={}) for name in vectors]
    changes += [ItemChange(name, deleted=True) for name in deleted]
    columns = {change.item_id: columns_now(bundle, change) for change in changes}
    return build_overlay(bundle, changes, vectors, columns)


def place(catalogue: Catalogue, vector: Vector, user: Vector, seen: Rows, own: int | None) -> int:
    """By sorting: 1 and the number of items that the user would get before this one."""
    rows = [row for row in catalogue.visible.tolist() if row not in seen and row != own]
    scores = catalogue.vectors(np.array(rows, np.int32)) @ user
    return 1 + int((scores > user @ vector).sum())


def test_ranks_are_those_of_a_sorted_list(bundle: Bundle) -> None:
    rng = np.random.default_rng(6)
    added = {name: rng.standard_normal(8).astype(np.float32) for name in ("new", "item-3")}
    catalogue = Catalogue(bundle, overlay(bundle, added, ["item-4", "item-5"]))
    users = np.array(bundle.user_vectors[:60])
    histories = [catalogue.current(bundle.seen.row(row)) for row in range(60)]
    for name in ("new", "item-3", "item-7", None):
        own = None if name is None else catalogue.get(name)
        vector = rng.standard_normal(8).astype(np.float32)
        if own is not None:
            vector = catalogue.vectors(np.array([own], np.int32))[0]
        found = ranks(catalogue, vector, users, histories, own)
        expected = [
            place(catalogue, vector, user, seen, own)
            for user, seen in zip(users, histories, strict=True)
        ]
        assert found.tolist() == expected
        assert len(set(expected)) > 5


def test_likely_users_have_the_largest_cosines(bundle: Bundle) -> None:
    vector = np.array(bundle.item_vectors[3])
    cosines = bundle.user_vectors @ vector  # users' and items' vectors have length 1 here, or 0
    best = np.argsort(-cosines, kind="stable")[:10]
    assert likely_users(bundle, vector, 10).tolist() == best.tolist()
    everybody = likely_users(bundle, vector, 10_000)
    assert sorted(everybody.tolist()) == np.flatnonzero(cosines > 0).tolist()
    assert likely_users(bundle, np.zeros(8, np.float32), 10).tolist() == NO_ITEMS.tolist()
