"""Overlays of item changes of which one does not fit: the others count."""

from pathlib import Path

import numpy as np
import pytest

from bundle.catalogue.overlay import ItemChange
from bundle.format.encoders import ItemEncoder
from bundle.format.reader import Bundle
from bundle.store.store import BundleStore
from bundle.types import Floats, Mask
from service.engine.item_overlay import ItemOverlays

TEXT = {"text": np.ones(4, np.float32)}


@pytest.fixture(scope="module")
def bundle(shop_store: Path) -> Bundle:
    return BundleStore(shop_store).load()


def by_id(*changes: ItemChange) -> dict[str, ItemChange]:
    return {change.item_id: change for change in changes}


@pytest.mark.parametrize(
    "odd",
    [
        ItemChange("odd", features={}),
        ItemChange("odd", features={"text": np.full(4, np.nan, np.float32)}),
        ItemChange("odd", features={"text": np.ones(3, np.float32)}),
        ItemChange("odd", features={"sound": np.ones(3, np.float32)}),
        ItemChange("odd", features={"text": np.ones((2, 2), np.float32)}),
        ItemChange("odd", features={"text": None}),  # type: ignore[dict-item]
        ItemChange("\udcff", features=TEXT),
        ItemChange("", features=TEXT),
    ],
    ids=lambda odd: repr((odd.item_id, odd.features)),
)
def test_one_change_that_does_not_fit_is_left_out(bundle: Bundle, odd: ItemChange) -> None:
    good = [ItemChange("item-1", deleted=True), ItemChange("new", features=TEXT)]
    last = ItemChange("item-2", columns={"price": 5.0, "no such column": 1})
    changes = by_id(good[0], odd, good[1], last)
    overlays = ItemOverlays(bundle)
    for names in (changes, [odd.item_id], []):
        overlay = overlays.overlay(changes, names)
        assert overlays.unfit == {odd.item_id}
        assert overlay.deleted == {"item-1"}
        assert overlay.added.ids == ["new"]
        assert overlay.table["item_id"].to_pylist() == ["item-2", "new"]
        assert overlay.table["price"].to_pylist() == [5.0, None]
    # A newer change of the same item counts again, and so does one that is gone.
    mended = ItemChange(odd.item_id or "odd", deleted=True)
    overlay = overlays.overlay(by_id(*good, mended), [odd.item_id, mended.item_id])
    assert overlay.deleted == {"item-1", mended.item_id}
    assert overlays.unfit == set()


def test_columns_count_where_the_features_do_not_fit(bundle: Bundle) -> None:
    """As in a refresh: the item stays, and keeps its vector."""
    change = ItemChange(
        "item-3", features={"sound": np.ones(3, np.float32)}, columns={"price": 7.0}
    )
    overlays = ItemOverlays(bundle)
    overlay = overlays.overlay(by_id(change), ["item-3"])
    assert overlays.unfit == {"item-3"}
    assert overlay.table["price"].to_pylist() == [7.0]
    assert len(overlay.added) == 0


def test_an_encoder_that_fails_for_one_item_leaves_it_out(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = ItemEncoder.encode

    def failing(self: ItemEncoder, features: dict[str, Floats], present: Mask) -> Floats:
        if features["text"][0, 0] == 2:
            raise RuntimeError("a defect of the runtime")
        return encode(self, features, present)

    monkeypatch.setattr(ItemEncoder, "encode", failing)
    changes = by_id(
        ItemChange("bad", features={"text": np.full(4, 2, np.float32)}),
        ItemChange("good", features=TEXT),
    )
    overlays = ItemOverlays(bundle)
    assert overlays.overlay(changes, changes).added.ids == ["good"]
    assert overlays.unfit == {"bad"}
