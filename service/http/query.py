"""Query strings: read into the pydantic model of an endpoint, each parameter in one spelling.

pydantic alone takes `k=1_0`, `k=5.0` and `explain=off`; `urllib` alone takes the last of several
values and puts U+FFFD in place of what is not UTF-8. None of it would be an error to the client.
"""

import re
from collections.abc import Mapping
from typing import get_origin
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError

from service.errors import InvalidParameterError
from service.http.error_handlers import SHOWN_INPUT, invalid_parameter
from service.schemas.base import NoQuery

MAX_PARAMETERS = 150
"""Maximum number of query parameters; more than any endpoint has, repeated ones included."""
WHOLE = r"-?(?:0|[1-9][0-9]*)"
SPELLINGS: Mapping[object, tuple[re.Pattern[str], str]] = {
    int: (re.compile(WHOLE), "must be a whole number such as 10"),
    float: (
        re.compile(WHOLE + r"(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"),
        "must be a number such as 0.5",
    ),
    bool: (re.compile("true|false|1|0", re.IGNORECASE), "must be true or false"),
}
"""Notation of the values of each type, and the error of others: numbers as in JSON, truth values
also as languages write them that have no JSON (`True`, `1`)."""
PROBE_PATHS = ("/healthz", "/readyz", "/metrics")
"""Paths that monitoring asks for, every few seconds and with parameters of its own."""


def parse_query(model: type[BaseModel], query_string: bytes) -> BaseModel:
    """The model of a query string.

    Raises:
        InvalidParameterError: a parameter is unknown, repeated, malformed or out of range.
    """
    try:
        pairs = parse_qsl(
            query_string.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MAX_PARAMETERS,
        )
    except ValueError:
        raise InvalidParameterError("the query string cannot be read") from None
    values: dict[str, str | list[str]] = {}
    for name, value in pairs:
        field = model.model_fields.get(name)
        if field is not None and get_origin(field.annotation) is list:
            values[name] = [*values.get(name, ()), value]
            continue
        if field is not None and name in values:
            raise InvalidParameterError(f"{name}: is given more than once", name)
        spelling = SPELLINGS.get(field.annotation) if field is not None else None
        if spelling is not None and not spelling[0].fullmatch(value):
            shown = value[:SHOWN_INPUT]
            raise InvalidParameterError(f"{name}: {spelling[1]}, got {shown!r}", name)
        values[name] = value
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise invalid_parameter(error.errors(include_url=False)) from None


def refuse_query(path: str, query_string: bytes) -> None:
    """Refuse any parameter of an endpoint that has none; probes may send what they like.

    Raises:
        InvalidParameterError: there is a parameter.
    """
    if query_string and path not in PROBE_PATHS:
        parse_query(NoQuery, query_string)
