"""Weights of events in a user's history, where an interaction at training time has 1.

`POST /events` and the files of a refresh give an event without a weight the one of its type.
"""

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from bundle.errors import InputError

DISLIKE_WEIGHT = -0.5
"""Weight of a dislike: half as strong as a like, as in Rocchio's formula."""
EVENT_WEIGHTS: Mapping[str, float] = {"dislike": DISLIKE_WEIGHT}
"""Default of `--event-weights`: weights by type of event."""
LARGEST_WEIGHT = 1e6
"""Largest weight of an event, and with a minus sign the smallest: a sum of many is still exact
enough in float32."""
Weight = Annotated[float, Field(ge=-LARGEST_WEIGHT, le=LARGEST_WEIGHT, allow_inf_nan=False)]
"""Weight of an event, as a field of a model or of settings."""
DEFAULT_TYPE = "view"
"""Type of an event that names none."""
TYPE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
"""Types of events: labels that need no quoting in logs, metrics and JSON."""


def weight_of_type(kind: str, weights: Mapping[str, float]) -> float:
    """Weight of an event that names none: that of its type, 1 for types without one."""
    return weights.get(kind, 1.0)


def parse_event_weights(text: str) -> dict[str, float]:
    """Value of `--event-weights`: a JSON object of weights by type.

    Raises:
        InputError: it is none; the message continues a sentence that begins with the option.
    """
    try:
        return TypeAdapter(dict[str, Weight]).validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = "".join(f"{part}: " for part in first["loc"])
        raise InputError(f"{place}{first['msg']}") from error
