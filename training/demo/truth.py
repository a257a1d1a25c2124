"""Ground truth of the demo shop: tastes of users and looks of items."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
from pydantic import TypeAdapter, ValidationError

from bundle.errors import InputError


@dataclass(frozen=True)
class Looks:
    """Looks of an item, as in its picture and usually in its title."""

    category: str
    colour: str
    pattern: str


@dataclass(frozen=True)
class Taste:
    """Taste for a category in one colour or in one pattern; the other one is None."""

    category: str
    colour: str | None = None
    pattern: str | None = None

    def fits(self, looks: Looks) -> bool:
        """True if an item with these looks matches the taste."""
        return (
            self.category == looks.category
            and self.colour in (None, looks.colour)
            and self.pattern in (None, looks.pattern)
        )


@dataclass(frozen=True)
class Truth:
    """Tastes of all users and looks of all items.

    Attributes:
        looks: looks by item_id.
        tastes: one to three tastes by user_id.
        seen: items of the user's interactions by user_id.
        cold: items without interactions.
    """

    looks: dict[str, Looks]
    tastes: dict[str, list[Taste]]
    seen: dict[str, list[str]]
    cold: list[str]

    def matching(self, user_id: str) -> frozenset[str]:
        """Items that match one of the user's tastes.

        Raises:
            KeyError: the user is unknown.
        """
        tastes = self.tastes[user_id]
        return frozenset(
            item for item, looks in self.looks.items() if any(t.fits(looks) for t in tastes)
        )

    def wanted(self, user_id: str) -> frozenset[str]:
        """Matching items that the user has not seen: the ideal recommendations."""
        return self.matching(user_id).difference(self.seen[user_id])


def taste_hit_rate(truth: Truth, user_id: str, item_ids: Sequence[str]) -> float:
    """Fraction of recommended items that match a taste of the user; 0 for an empty list.

    Raises:
        KeyError: the user is unknown.
    """
    matching = truth.matching(user_id)
    return sum(item in matching for item in item_ids) / len(item_ids) if item_ids else 0.0


def write_truth(truth: Truth, path: Path) -> None:
    """Write a `Truth` as JSON."""
    path.write_bytes(orjson.dumps(truth, option=orjson.OPT_INDENT_2))


def read_truth(path: Path) -> Truth:
    """Read a file written by `write_truth`.

    Raises:
        InputError: the file is missing or invalid.
    """
    try:
        return TypeAdapter(Truth).validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise InputError(f"{path}: cannot be read as planted tastes ({error})") from error
