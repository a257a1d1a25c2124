"""Ids in paths and bodies: any characters, slashes and line breaks included."""

from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

from starlette.convertors import Convertor, register_url_convertor
from starlette.types import Scope

from service.errors import InvalidParameterError


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
