"""Search options: what a request or an experiment's arm asks of a search beyond the user's vector.

`RankingOptions` are the options as people write them, with filters as text and parts by name;
`SearchOptions` are the same resolved against one catalogue, with row numbers. The service, offline
evaluation and the gate resolve them by the same function, so all three rank alike.
"""

from collections.abc import Sequence
from typing import Annotated, NamedTuple, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from bundle.catalogue.catalogue import Catalogue
from bundle.catalogue.comparison import FilterError
from bundle.catalogue.filters import MAX_LENGTH as MAX_FILTER
from bundle.errors import InputError
from bundle.types import NO_ITEMS, Rows

POOL = 10
"""Candidates per result from which the diverse ones are chosen."""
MAX_POOL = 1_000
"""Maximum number of candidates for diversity, as long as k is not larger itself: more would take
longer than the search. From a k of 100 on, there are fewer than POOL for each result."""
MAX_WEIGHT = 1_000.0
"""Maximum of a weight and of the absolute value of a boost, far above usual scores of about 1."""
MAX_BOOSTS = 5
"""Maximum number of boosts; a search looks at up to 2^n groups of items with n boosts."""
SHOWN = 60
"""Maximum number of characters of a wrong value that an error repeats."""

FilterText = Annotated[
    str | None,
    Field(
        max_length=MAX_FILTER,
        description="condition on the columns of the items that may be returned",
        examples=['category = "shoes" and price < 50'],
    ),
]
Diversity = Annotated[
    float,
    Field(
        ge=0,
        le=1,
        description="0 returns the best scores; larger values prefer items that differ from each "
        "other (maximal marginal relevance), among the best 10 · k, at most 1,000",
        examples=[0.3],
    ),
]
Weights = Annotated[
    str | None,
    Field(
        max_length=1000,
        description="factors for what lines, modalities and popularity add to a score, NAME:NUMBER "
        "separated by commas; 1 for those not named",
        examples=["image:1.5,behaviour:1"],
    ),
]
Boosts = Annotated[
    list[Annotated[str, Field(max_length=MAX_FILTER + 30)]],
    Field(
        max_length=MAX_BOOSTS,
        description="AMOUNT:FILTER adds an amount to the scores of the items that match; "
        "repeatable",
        examples=[['0.1:category = "shoes"']],
    ),
]


class OptionError(InputError):
    """An option does not fit the bundle.

    Attributes:
        field: name of the option.
        reason: what is wrong with it, without the name.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field, self.reason = field, reason


class RankingOptions(BaseModel):
    """Options of a ranking for users: those of an experiment's arm, and of an evaluation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    diversity: Diversity = 0.0
    weights: Weights = None
    boost: Boosts = Field(default_factory=list)
    filter: FilterText = None
    exclude_seen: bool = Field(
        default=True, description="omit the items that the user has interacted with"
    )


class Options(Protocol):
    """The options that `search_options` resolves: `RankingOptions` or a request's parameters."""

    @property
    def diversity(self) -> float: ...
    @property
    def weights(self) -> str | None: ...
    @property
    def boost(self) -> Sequence[str]: ...
    @property
    def filter(self) -> str | None: ...


class Boost(NamedTuple):
    """An amount that is added to the scores of some items.

    Attributes:
        amount: below 0 it lowers them.
        items: ascending item_idx.
    """

    amount: float
    items: Rows


class SearchOptions(NamedTuple):
    """Options of one search, with ids and filters resolved to row numbers.

    Attributes:
        k: number of results.
        excluded: item_idx that must not be returned.
        allowed: ascending item_idx that may be returned; None for all.
        diversity: 0 … 1, see `Recommender.diversify`.
        weights: a factor for each part of the bundle; None for 1 each.
        boosts: amounts for some items.
    """

    k: int
    excluded: Rows = NO_ITEMS
    allowed: Rows | None = None
    diversity: float = 0.0
    weights: tuple[float, ...] | None = None
    boosts: tuple[Boost, ...] = ()

    @property
    def is_plain(self) -> bool:
        """True if vector, number of results and exclusions are all that the search has to know."""
        return self.allowed is None and self.weights is None and not self.boosts

    @property
    def is_reweighted(self) -> bool:
        """True if scores are not the inner products of the vectors."""
        return self.weights is not None or bool(self.boosts)

    @property
    def candidates(self) -> int:
        """Number of results to search for, from which k are chosen."""
        if not self.diversity:
            return self.k
        return min(self.k * POOL, max(self.k, MAX_POOL))


def search_options(
    catalogue: Catalogue, options: Options, k: int, excluded: Rows = NO_ITEMS
) -> SearchOptions:
    """Resolve options against a catalogue.

    Args:
        catalogue: the items as they are now.
        options: as they were written.
        k: number of results.
        excluded: item_idx that must not be returned.

    Raises:
        OptionError: an option cannot be read or does not fit the bundle; names the option.
    """
    return SearchOptions(
        k,
        excluded,
        allowed=None if options.filter is None else allowed_items(catalogue, options.filter),
        diversity=options.diversity,
        weights=_weights(catalogue, options.weights) if options.weights else None,
        boosts=tuple([_boost(catalogue, text) for text in options.boost]) if options.boost else (),
    )


def allowed_items(catalogue: Catalogue, text: str, field: str = "filter") -> Rows:
    """The ascending item_idx that a filter allows.

    Raises:
        OptionError: the filter cannot be read or does not fit the items' columns; names the field.
    """
    try:
        return catalogue.allowed(text)
    except FilterError as error:
        raise OptionError(field, str(error)) from None


def _weights(catalogue: Catalogue, text: str) -> tuple[float, ...]:
    parts = [part.name for part in catalogue.bundle.manifest.parts]
    given: dict[str, float] = {}
    for piece in text.split(","):
        name, _, number = piece.rpartition(":")
        if name not in parts or name in given:
            raise OptionError(
                "weights",
                f"{piece[:SHOWN]!r} is not NAME:NUMBER, each of {', '.join(parts)} once",
            )
        given[name] = _number(number, 0.0, "weights")
    return tuple(given.get(name, 1.0) for name in parts)


def _boost(catalogue: Catalogue, text: str) -> Boost:
    number, _, condition = text.partition(":")
    amount = _number(number, -MAX_WEIGHT, "boost")
    return Boost(amount, allowed_items(catalogue, condition, "boost"))


def _number(text: str, least: float, field: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = np.nan
    if not least <= number <= MAX_WEIGHT:
        raise OptionError(field, f"{text[:SHOWN]!r} is no number from {least:g} to {MAX_WEIGHT:g}")
    return number
