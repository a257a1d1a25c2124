"""Experiments: users are divided among arms, each with its own options or bundle.

The file named by `--experiment`:
```json
{"name": "diverse-home",
 "arms": [{"name": "control", "share": 0.5},
          {"name": "diverse", "share": 0.5, "options": {"diversity": 0.3}},
          {"name": "old", "share": 0.1, "bundle_version": "20260314T091500Z-5f0c2a71"}]}
```
A user's arm depends only on the experiment's name, the arms and the user's id. Shares may sum to
less than 1; the remaining users are in no arm.
"""

from functools import cached_property
from hashlib import blake2b
from typing import Annotated, Self, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from bundle.catalogue.catalogue import Catalogue
from bundle.search.options import OptionError, RankingOptions, search_options

Query = TypeVar("Query", bound=BaseModel)
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]


class Arm(BaseModel):
    """A share of the users, with the options of their searches.

    Attributes:
        bundle_version: bundle that answers them; the live one by default.
        options: defaults of their requests' parameters.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    share: Annotated[float, Field(gt=0, le=1)]
    bundle_version: str | None = None
    options: RankingOptions = RankingOptions()
    _experiment: str = PrivateAttr("")

    @property
    def experiment(self) -> str:
        """The name of the experiment."""
        return self._experiment

    @cached_property
    def encoded(self) -> bytes:
        """The JSON of an exposure, as responses have it."""
        return orjson.dumps({"name": self.experiment, "arm": self.name})

    @property
    def label(self) -> str:
        """`<experiment>/<arm>`."""
        return f"{self.experiment}/{self.name}"

    def apply(self, query: Query) -> Query:
        """A query with this arm's options; parameters of the request override them."""
        mine = {
            name: getattr(self.options, name)
            for name in self.options.model_fields_set - query.model_fields_set
        }
        return query.model_copy(update=mine) if mine else query


def why_unfit(arm: Arm, catalogue: Catalogue) -> str | None:
    """Reason why an arm's options do not fit a bundle, such as a filter on a missing column.

    None if they can.
    """
    try:
        search_options(catalogue, arm.options, 1)
    except OptionError as error:
        return f"arms.{arm.name}.options.{error}"
    return None


class Experiment(BaseModel):
    """Named arms with shares."""

    model_config = ConfigDict(extra="forbid", frozen=True)

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
            arm._experiment = self.name
        return self

    def arm(self, user_id: str) -> Arm | None:
        """The arm of a user; None for those in no arm."""
        digest = blake2b(f"{self.name}\n{user_id}".encode(), digest_size=8).digest()
        place = int.from_bytes(digest) / 2**64
        for arm in self.arms:
            place -= arm.share
            if place < 0:
                return arm
        return None
