"""Changes of an item: features of known modalities, and columns of the right types."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundle.catalogue.overlay import column_values, encode_item
from bundle.errors import InputError
from bundle.format.reader import Bundle
from bundle.store.store import BundleStore
from tests.support.data.bundles import make_contents
from tests.support.data.item_changes import DIM, publish


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return publish(tmp_path_factory.mktemp("store"), 30)


def test_an_item_is_encoded_from_the_modalities_that_it_has(tmp_path: Path) -> None:
    contents = make_contents(20, 30, DIM, rng=np.random.default_rng(0))
    BundleStore(tmp_path).publish(contents)
    encoder = BundleStore(tmp_path).load().item_encoder
    sample = contents.encoder_sample
    for row, present in enumerate(sample.present):
        names = [n for n, here in zip(contents.modalities, present, strict=True) if here]
        features = {name: sample.features[name][row] for name in names}
        vector = encode_item(encoder, features)
        np.testing.assert_allclose(vector, sample.item_vectors[row], atol=1e-5)
    good = {"text": np.zeros(4, np.float32)}
    for wrong, message in [
        ({}, "at least one"),
        (
            {**good, "sound": np.zeros(4, np.float32)},
            "no such modality; the modalities are image, text",
        ),
        ({"text": np.zeros(5, np.float32)}, "text: has 5 numbers, expected 4"),
        ({"text": np.full(4, np.nan, np.float32)}, "text: .*not finite"),
        ({"text": np.full(4, np.inf, np.float32)}, "text: .*not finite"),
    ]:
        with pytest.raises(InputError, match=message):
            encode_item(encoder, wrong)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"colour": "red"}, "colour: no such column; the columns are title"),
        ({"item_id": "x"}, "item_id: no such column"),
        ({"price": "cheap"}, "price: 'cheap' does not fit the column's type, double"),
        ({"price": float("nan")}, "price: .*nan does not fit"),
        ({"price": float("-inf")}, "price: .*-inf does not fit"),
        ({"price": True}, "price: True does not fit the column's type, double"),
        ({"stock": 1.5}, "stock: 1.5 does not fit the column's type, int64"),
        ({"stock": 2**63}, "stock: .*does not fit"),
        ({"stock": [1]}, "stock: .*does not fit"),
        ({"new": 1}, "new: .*does not fit"),
        ({"new": "true"}, "new: .*does not fit"),
        ({"title": 5}, "title: 5 does not fit the column's type, string"),
        ({"title": "\ud800"}, "title: .*does not fit"),
        ({"title": {"a": 1}}, "title: .*does not fit"),
        ({"tags": "red"}, "tags: .*does not fit"),
        ({"tags": ["red", 5]}, "tags: .*does not fit"),
        ({"tags": ["\ud800"]}, "tags: .*does not fit"),
        ({"tags": {"red": 1}}, "tags: .*does not fit"),
    ],
)
def test_columns_that_do_not_fit_are_refused(
    loaded: Bundle, columns: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        column_values(loaded.item_table.schema, columns)


def test_columns_are_taken_in_the_columns_types(loaded: Bundle) -> None:
    given = {"price": 10**30, "stock": 3, "tags": [], "title": None, "new": False}
    found = column_values(loaded.item_table.schema, given)
    assert found == {"price": 1e30, "stock": 3, "tags": [], "title": None, "new": False}
    assert type(found["price"]) is float
