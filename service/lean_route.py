"""Routes that FastAPI describes and that are executed without its machinery.

FastAPI reads the endpoint's signature for OpenAPI, as of any other route; a request then goes
straight to the endpoint: one string from the path, one pydantic model from the query, bytes back.
Validation is by the same model and errors have the same shape.
"""

from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any, get_origin
from urllib.parse import parse_qsl, unquote_to_bytes

from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from service.errors import InvalidParameterError, invalid_parameter
from service.serving import Service

MAX_PARAMETERS = 150
DISTINCT_QUERIES = 1024
"""Query strings whose validated models are kept: clients send few different ones."""


class LeanRoute(APIRoute):
    """`GET <prefix>{id:path}?…` → JSON bytes.

    Args:
        prefix: the path before the id; the id is all that follows, slashes and line breaks
            included, percent-decoded.
        parameter: the id's name.
        query: a frozen model of the query; unknown parameters are its affair.
        endpoint: gets the id, the query and the `Service`.
        options: as of `APIRoute`.
    """

    def __init__(
        self,
        prefix: str,
        parameter: str,
        query: type[BaseModel],
        endpoint: Callable[..., Awaitable[bytes]],
        **options: Any,
    ) -> None:
        super().__init__(f"{prefix}{{{parameter}:path}}", endpoint, methods=["GET"], **options)
        self._prefix = prefix
        self._parameter = parameter
        self._respond = endpoint

        @lru_cache(DISTINCT_QUERIES)
        def parse(query_string: bytes) -> BaseModel:
            return _parse_query(query, query_string)

        self._parse = parse

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """By prefix; a regular expression's `.` would stop at a line break in an id."""
        if scope["type"] != "http" or not scope["path"].startswith(self._prefix):
            return Match.NONE, {}
        match = Match.FULL if scope["method"] == "GET" else Match.PARTIAL
        return match, {"endpoint": self.endpoint, "route": self}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        del receive  # a GET has no body
        if scope["method"] != "GET":
            raise HTTPException(405, headers={"Allow": "GET"})
        service: Service = scope["app"].state.service
        with service.permits:
            identifier = self._identifier(scope, service)
            query = self._parse(scope["query_string"])
            body = await self._respond(identifier, query, service)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _identifier(self, scope: Scope, service: Service) -> str:
        identifier: str = scope["path"][len(self._prefix) :]
        name = self._parameter
        service.check_id(identifier, name)
        # Servers decode the path with U+FFFD for what is no UTF-8; that would be another id.
        if "\ufffd" in identifier:
            try:
                unquote_to_bytes(scope["raw_path"]).decode()
            except UnicodeDecodeError:
                raise InvalidParameterError(f"{name}: is not UTF-8", name) from None
        return identifier


def _parse_query(model: type[BaseModel], query_string: bytes) -> BaseModel:
    try:
        pairs = parse_qsl(
            query_string.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_PARAMETERS
        )
    except ValueError:
        raise InvalidParameterError("the query string cannot be read") from None
    values: dict[str, str | list[str]] = dict(pairs)
    for name, field in model.model_fields.items():
        if get_origin(field.annotation) is list and name in values:
            values[name] = [value for key, value in pairs if key == name]
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise invalid_parameter(error.errors(include_url=False)) from None
