"""Experiments: users are spread over arms, each with options or a bundle of its own.

The file that `--experiment` names:
```json
{"name": "diverse-home",
 "arms": [{"name": "control", "share": 0.5},
          {"name": "diverse", "share": 0.5, "options": {"diversity": 0.3}},
          {"name": "old", "share": 0.1, "bundle_version": "20260314T091500Z-5f0c2a71"}]}
```
Who is in which arm depends on the names and the user's id alone. Shares may leave a rest, which is
in no arm.
"""

from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Self, TypeVar

import orjson
from pydantic import Field, PrivateAttr, ValidationError, model_validator

from bundle.errors import InputError
from service.queries import SearchQuery, UserQuery
from service.schemas import Schema

Query = TypeVar("Query", bound=UserQuery)
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]


class ArmOptions(Schema):
    """Options of a search that an arm can have; those that a request brings win."""

    diversity: float = SearchQuery.model_fields["diversity"].default
    weights: str | None = None
    boost: list[str] = Field(default_factory=list)
    filter: str | None = None
    exclude_seen: bool = True


class Arm(Schema):
    """A share of the users.

    Attributes:
        bundle_version: what answers them; the live bundle by default.
    """

    name: Name
    share: Annotated[float, Field(gt=0, le=1)]
    bundle_version: str | None = None
    options: ArmOptions = ArmOptions()
    _experiment: str = PrivateAttr("")

    @property
    def experiment(self) -> str:
        """The name of the experiment."""
        return self._experiment

    @cached_property
    def encoded(self) -> bytes:
        """The JSON of `schemas.Exposure`."""
        return orjson.dumps({"name": self.experiment, "arm": self.name})

    @property
    def label(self) -> str:
        """`<experiment>/<arm>`."""
        return f"{self.experiment}/{self.name}"

    def apply(self, query: Query) -> Query:
        """A query with this arm's options where it does not say anything itself."""
        mine = {
            name: getattr(self.options, name)
            for name in self.options.model_fields_set - query.model_fields_set
        }
        return query.model_copy(update=mine) if mine else query


class Experiment(Schema):
    """Named arms with shares."""

    name: Name
    arms: Annotated[list[Arm], Field(min_length=1, max_length=20)]

    @model_validator(mode="after")
    def _arms_make_sense(self) -> Self:
        names = [arm.name for arm in self.arms]
        if len(set(names)) < len(names):
            raise ValueError("arms: a name occurs twice")
        if sum(arm.share for arm in self.arms) > 1 + 1e-9:
            raise ValueError("arms: the shares are more than 1 together")
        for arm in self.arms:
            # What is out of range for a request is so for an arm.
            UserQuery.model_validate(arm.options.model_dump(exclude_unset=True))
            arm._experiment = self.name
        return self

    def arm(self, user_id: str) -> Arm | None:
        """The arm that a user is in, None if in none."""
        digest = blake2b(f"{self.name}\n{user_id}".encode(), digest_size=8).digest()
        place = int.from_bytes(digest) / 2**64
        for arm in self.arms:
            place -= arm.share
            if place < 0:
                return arm
        return None


def read_experiment(path: Path) -> Experiment:
    """Read the file.

    Raises:
        InputError: it cannot be read or makes no sense; names the file and the field.
    """
    try:
        return Experiment.model_validate(orjson.loads(path.read_bytes()))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except orjson.JSONDecodeError as error:
        raise InputError(f"{path}: is no JSON ({error})") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: {where + ': ' if where else ''}{first['msg']}") from error
