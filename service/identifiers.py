"""Ids in paths: any characters, slashes and line breaks included."""

from typing import Annotated
from urllib.parse import unquote_to_bytes

from fastapi import Depends, Path, Request
from starlette.convertors import Convertor, register_url_convertor
from starlette.types import Scope

from service.errors import InvalidParameterError
from service.running import CurrentService, Service

ANY = "any characters, percent-encoded; at most as many as `/info` says"
UserId = Annotated[str, Path(description=ANY, examples=["u-1042"])]
ItemId = Annotated[str, Path(description=ANY, examples=["i-77"])]


class _AnyCharacters(Convertor[str]):
    """As `path`, which stops at a line break."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("id", _AnyCharacters())


def check_id(scope: Scope, identifier: str, name: str, service: Service) -> None:
    """Refuse an id from a path that can be no user's or item's.

    Args:
        scope: of the request.
        identifier: as the server decoded it.
        name: of the parameter.
        service: knows the limits.

    Raises:
        InvalidParameterError: it is empty, too long or no UTF-8.
    """
    service.check_id(identifier, name)
    # Servers decode the path with U+FFFD for what is no UTF-8; that would be another id.
    if "\ufffd" in identifier:
        try:
            unquote_to_bytes(scope["raw_path"]).decode()
        except UnicodeDecodeError:
            raise InvalidParameterError(f"{name}: is not UTF-8", name) from None


async def _user_id(user_id: UserId, request: Request, service: CurrentService) -> str:
    check_id(request.scope, user_id, "user_id", service)
    return user_id


async def _item_id(item_id: ItemId, request: Request, service: CurrentService) -> str:
    check_id(request.scope, item_id, "item_id", service)
    return item_id


UserIdPath = Annotated[str, Depends(_user_id)]
ItemIdPath = Annotated[str, Depends(_item_id)]
