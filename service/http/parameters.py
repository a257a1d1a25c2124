"""Parameters of requests: ids in paths and bodies, and query strings.

Ids may have any characters, slashes and line breaks included. A query string is read into the
pydantic model of its endpoint, each parameter in one spelling: pydantic alone takes `k=1_0`,
`k=5.0` and `explain=off`; `urllib` alone takes the last of several values and puts U+FFFD in place
of what is not UTF-8. None of it would be an error to the client.
"""

import re
from collections.abc import Iterable, Mapping
from typing import get_origin
from urllib.parse import parse_qsl, unquote_to_bytes

from pydantic import BaseModel, ValidationError
from starlette.convertors import Convertor, register_url_convertor
from starlette.types import Scope

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


class _AnyCharacters(Convertor[str]):
    """The rest of the path, as `path` but including line breaks."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("id", _AnyCharacters())


def check_id(identifier: str, name: str, longest: int) -> None:
    """Refuse an id that can be no user's or item's.

    Args:
        identifier: the id.
        name: name of the parameter, for the error.
        longest: maximum number of characters.

    Raises:
        InvalidParameterError: it is empty or too long.
    """
    if not identifier:
        raise InvalidParameterError(f"{name}: must not be empty", name)
    if len(identifier) > longest:
        raise InvalidParameterError(f"{name}: has more than {longest} characters", name)


def check_ids(identifiers: Iterable[str], name: str, longest: int) -> None:
    """`check_id` for each id of a list; errors name its place, as in `exclude.3`.

    Raises:
        InvalidParameterError: one is empty or too long.
    """
    for number, identifier in enumerate(identifiers):
        check_id(identifier, f"{name}.{number}", longest)


def check_path_id(scope: Scope, identifier: str, name: str, longest: int) -> None:
    """Refuse an id from a path that can be no user's or item's.

    Args:
        scope: ASGI scope of the request.
        identifier: the id, as the server decoded it.
        name: name of the parameter, for the error.
        longest: maximum number of characters.

    Raises:
        InvalidParameterError: it is empty, too long or not UTF-8.
    """
    check_id(identifier, name, longest)
    # Servers put U+FFFD in place of bytes that are not UTF-8; that would be another id.
    if "\ufffd" in identifier:
        try:
            unquote_to_bytes(scope["raw_path"]).decode()
        except UnicodeDecodeError:
            raise InvalidParameterError(f"{name}: is not UTF-8", name) from None


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
