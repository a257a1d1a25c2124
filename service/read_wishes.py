"""From the parameters of a request to `Wishes`, by the bundle that answers."""

import numpy as np

from bundle.overlay import NO_ITEMS, Rows
from bundle.similarity import FUSED
from bundle.steering import Boost, part_weights
from service.errors import InvalidParameterError
from service.queries import MAX_WEIGHT, SearchQuery
from service.serving import Serving
from service.wishes import Wishes


async def read_wishes(
    serving: Serving, query: SearchQuery, seen: Rows = NO_ITEMS, k: int | None = None
) -> Wishes:
    """The wishes of a query.

    Args:
        serving: what answers.
        query: the request's parameters.
        seen: item_idx that must not come back, besides those that the query excludes.
        k: results, if not as many as the query says.

    Raises:
        InvalidParameterError: filter, weights or boost do not fit the bundle.
    """
    excluded = seen
    if query.exclude:
        excluded = np.union1d(seen, serving.rows(query.exclude))
    return Wishes(
        k=k or query.k,
        excluded=excluded,
        allowed=await serving.allowed(query.filter) if query.filter is not None else None,
        diversity=query.diversity,
        factors=_factors(serving, query.weights) if query.weights else None,
        boosts=tuple([await _boost(serving, text) for text in query.boost]) if query.boost else (),
    )


def _factors(serving: Serving, text: str) -> list[float]:
    known = [name for name in serving.recommender.similarities.names if name != FUSED]
    weights: dict[str, float] = {}
    for piece in text.split(","):
        name, _, number = piece.rpartition(":")
        if name not in known or name in weights:
            raise InvalidParameterError(
                f"weights: {piece[:60]!r} is not NAME:NUMBER, each of {', '.join(known)} once",
                "weights",
            )
        weights[name] = _number(number, 0.0, "weights")
    return part_weights(serving.recommender, weights)


async def _boost(serving: Serving, text: str) -> Boost:
    number, _, condition = text.partition(":")
    amount = _number(number, -MAX_WEIGHT, "boost")
    allowed = await serving.allowed(condition, "boost")
    assert allowed is not None
    return Boost(amount, allowed)


def _number(text: str, least: float, field: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not least <= number <= MAX_WEIGHT:
        raise InvalidParameterError(
            f"{field}: {text[:60]!r} is no number from {least:g} to {MAX_WEIGHT:g}", field
        )
    return number
