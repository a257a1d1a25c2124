"""Search options: how they are read and resolved, and what `Recommender.run` makes of them."""

from pathlib import Path

import numpy as np
import pytest

from bundle.errors import InputError
from bundle.format.reader import Bundle
from bundle.json_file import read_json_file
from bundle.search.options import (
    Boost,
    OptionError,
    RankingOptions,
    SearchOptions,
    search_options,
)
from bundle.search.recommender import Recommender
from tests.support.data.item_changes import publish

K = 10


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return publish(tmp_path_factory.mktemp("shop"), 300)


def plain_ranking(bundle: Bundle, user: int, options: RankingOptions, k: int) -> list[int]:
    """The right ranking, by NumPy alone; without diversity."""
    recommender = Recommender(bundle)
    vector = np.asarray(bundle.user_vectors[user], np.float64)
    parts = bundle.manifest.parts
    weights = {part.name: 1.0 for part in parts}
    for piece in (options.weights or "").split(",") if options.weights else []:
        name, _, weight = piece.partition(":")
        weights[name] = float(weight)
    scores = np.zeros(len(bundle.items))
    for number, part in enumerate(parts):
        block = bundle.item_parts[:, bundle.manifest.part_columns(number)]
        scores += weights[part.name] * (block @ vector[part.start : part.stop])
    for text in options.boost:
        amount, _, condition = text.partition(":")
        scores[recommender.catalogue.allowed(condition)] += float(amount)
    may = np.ones(len(scores), np.bool_)
    if options.filter is not None:
        may[:] = False
        may[recommender.catalogue.allowed(options.filter)] = True
    if options.exclude_seen:
        may[bundle.seen.row(user)] = False
    order = np.argsort(-np.where(may, scores, -np.inf), kind="stable")
    return [int(row) for row in order[: min(k, int(may.sum()))]]


@pytest.mark.parametrize(
    "options",
    [
        RankingOptions(),
        RankingOptions(exclude_seen=False),
        RankingOptions(filter="price < 20"),
        RankingOptions(weights="image:3,behaviour:0.25"),
        RankingOptions(weights="image:0", filter="price < 20"),
        RankingOptions(boost=["0.3:price < 20", "-0.2:price >= 50"]),
        RankingOptions(boost=["0.5:price < 20"], weights="text:2", filter="price < 60"),
    ],
    ids=str,
)
def test_run_ranks_as_a_plain_model_does(shop: Bundle, options: RankingOptions) -> None:
    recommender = Recommender(shop)
    for user in np.flatnonzero(np.any(shop.user_vectors, axis=1))[:10].tolist():
        seen = shop.seen.row(user) if options.exclude_seen else np.empty(0, np.int32)
        resolved = search_options(recommender.catalogue, options, K, seen)
        top = recommender.run(np.asarray(shop.user_vectors[user]), resolved)
        assert top.item_idx.tolist() == plain_ranking(shop, user, options, K)


def test_diversity_chooses_among_the_candidates_of_the_same_options(shop: Bundle) -> None:
    recommender = Recommender(shop)
    vector = np.asarray(shop.user_vectors[np.flatnonzero(np.any(shop.user_vectors, axis=1))[0]])
    options = search_options(
        recommender.catalogue, RankingOptions(diversity=0.5, filter="price < 60"), K
    )
    candidates = recommender.candidates(vector, options)
    assert options.candidates == 10 * K >= len(candidates.item_idx) > K
    chosen = recommender.run(vector, options)
    assert len(chosen.item_idx) == K
    assert set(chosen.item_idx.tolist()) <= set(candidates.item_idx.tolist())
    assert chosen.item_idx.tolist() != candidates.item_idx[:K].tolist()


@pytest.mark.parametrize(
    ("options", "field", "reason"),
    [
        (RankingOptions(filter="price <"), "filter", "filter: "),
        (RankingOptions(filter="nothing = 1"), "filter", "filter: "),
        (RankingOptions(weights="nothing:1"), "weights", "is not NAME:NUMBER"),
        (RankingOptions(weights="image:1,image:2"), "weights", "is not NAME:NUMBER"),
        (RankingOptions(weights="image:-1"), "weights", "is no number from 0"),
        (RankingOptions(weights="image:nan"), "weights", "is no number from 0"),
        (RankingOptions(boost=["much:price < 20"]), "boost", "is no number from -1000"),
        (RankingOptions(boost=["1:nothing = 1"]), "boost", "boost: "),
    ],
)
def test_an_option_that_does_not_fit_is_named(
    shop: Bundle, options: RankingOptions, field: str, reason: str
) -> None:
    with pytest.raises(OptionError, match=reason) as caught:
        search_options(Recommender(shop).catalogue, options, K)
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}: ")


def test_is_plain_for_options_that_can_be_batched() -> None:
    rows = np.arange(3, dtype=np.int32)
    assert SearchOptions(5, excluded=rows, diversity=0.5).is_plain
    assert not SearchOptions(5, allowed=rows).is_plain
    assert not SearchOptions(5, weights=(1.0,)).is_plain
    assert not SearchOptions(5, boosts=(Boost(1.0, rows),)).is_plain
    assert SearchOptions(5).candidates == 5
    assert SearchOptions(5, diversity=0.1).candidates == 50
    assert SearchOptions(500, diversity=0.1).candidates == 1000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ('{"diversity": 2}', "diversity: "),
        ('{"k": 5}', "k: "),
        ('{"boost": "0.1:a = 1"}', "boost: "),
    ],
)
def test_a_file_of_options_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "arm.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_json_file(path, RankingOptions)
    assert str(path) in str(caught.value)
    with pytest.raises(InputError, match="cannot be read"):
        read_json_file(tmp_path / "absent.json", RankingOptions)


def test_a_file_of_options_is_read(tmp_path: Path) -> None:
    path = tmp_path / "arm.json"
    path.write_text('{"diversity": 0.3, "weights": "image:2", "exclude_seen": false}')
    expected = RankingOptions(diversity=0.3, weights="image:2", exclude_seen=False)
    assert read_json_file(path, RankingOptions) == expected
