"""What the demo shop's users like, by construction: the right answers for a recommender."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
from pydantic import TypeAdapter, ValidationError

from bundle.errors import InputError


@dataclass(frozen=True)
class Looks:
    """What can be seen in an item's picture and, mostly, read in its title."""

    category: str
    colour: str
    pattern: str


@dataclass(frozen=True)
class Taste:
    """A category in one colour, or in one pattern; the other one is None."""

    category: str
    colour: str | None = None
    pattern: str | None = None

    def fits(self, looks: Looks) -> bool:
        """Whether an item that looks so is to this taste."""
        return (
            self.category == looks.category
            and self.colour in (None, looks.colour)
            and self.pattern in (None, looks.pattern)
        )


@dataclass(frozen=True)
class Truth:
    """Tastes of all users and looks of all items.

    Attributes:
        looks: by item_id.
        tastes: by user_id, one to three.
        seen: by user_id, the items of the user's interactions.
        cold: items without any interaction.
    """

    looks: dict[str, Looks]
    tastes: dict[str, list[Taste]]
    seen: dict[str, list[str]]
    cold: list[str]

    def matching(self, user_id: str) -> frozenset[str]:
        """All items that fit one of the user's tastes; KeyError for an unknown user."""
        tastes = self.tastes[user_id]
        return frozenset(
            item for item, looks in self.looks.items() if any(t.fits(looks) for t in tastes)
        )

    def wanted(self, user_id: str) -> frozenset[str]:
        """Those of `matching` that the user has not seen: what should be recommended."""
        return self.matching(user_id).difference(self.seen[user_id])


def taste_hit_rate(truth: Truth, user_id: str, item_ids: Sequence[str]) -> float:
    """Share of the recommended items that fit a taste of the user, 0…1; 0 for an empty list.

    Raises:
        KeyError: the user is unknown.
    """
    matching = truth.matching(user_id)
    return sum(item in matching for item in item_ids) / len(item_ids) if item_ids else 0.0


def write_truth(truth: Truth, path: Path) -> None:
    """Writes `truth` as JSON."""
    path.write_bytes(orjson.dumps(truth, option=orjson.OPT_INDENT_2))


def read_truth(path: Path) -> Truth:
    """Reads what `write_truth` wrote.

    Raises:
        InputError: the file is missing or holds something else.
    """
    try:
        return TypeAdapter(Truth).validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise InputError(f"{path}: no planted tastes can be read ({error})") from error
