"""The cost of a request: what grows it, and that one user's requests never reach the limit."""

import pytest

from bundle.catalogue.filters import MAX_LENGTH
from bundle.search.options import MAX_BOOSTS, Boost, SearchOptions
from bundle.types import NO_ITEMS
from service.engine.cost import (
    COST_OF_ONE,
    INLINE,
    MAX_COST,
    SLICE,
    search_cost,
    text_cost,
    user_cost,
    users_at_once,
)
from service.schemas.base import MAX_K
from service.schemas.recommend import MAX_PAGED, SearchQuery, UserQuery

DEAREST = UserQuery(
    exclude=[],
    k=MAX_K,
    diversity=0.5,
    weights="image:2",
    filter="x" * MAX_LENGTH,
    boost=["1" * (MAX_LENGTH + 30)] * MAX_BOOSTS,
    explain=True,
)


def test_a_plain_request_counts_as_one() -> None:
    assert user_cost(UserQuery(exclude=[])) <= COST_OF_ONE
    assert user_cost(UserQuery(exclude=[])) <= INLINE


def test_one_user_never_reaches_the_limit() -> None:
    for k in (MAX_K, MAX_PAGED):
        assert user_cost(DEAREST, k) + text_cost(DEAREST) < MAX_COST / 3


@pytest.mark.parametrize(
    "more",
    [
        {"k": 21},
        {"diversity": 0.1},
        {"weights": "image:2"},
        {"filter": "a = 1"},
        {"boost": ["1:a = 1"]},
        {"explain": True},
    ],
)
def test_whatever_is_asked_for_costs(more: dict[str, object]) -> None:
    asked = UserQuery.model_validate(more)
    assert user_cost(asked) > user_cost(UserQuery(exclude=[]))
    assert users_at_once(asked) * user_cost(asked) <= SLICE


def test_pieces_have_at_least_one_user() -> None:
    assert users_at_once(DEAREST) == SLICE // INLINE


def test_resolved_options_cost_what_the_query_does() -> None:
    query = SearchQuery(
        exclude=[],
        k=50,
        diversity=0.5,
        weights="image:2",
        filter="a = 1",
        boost=["1:a = 1", "2:a = 1"],
    )
    boosts = (Boost(1.0, NO_ITEMS), Boost(2.0, NO_ITEMS))
    options = SearchOptions(50, NO_ITEMS, NO_ITEMS, 0.5, (1.0,), boosts)
    assert search_cost(options) == user_cost(query)
