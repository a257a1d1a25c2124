"""Routes that FastAPI describes and that are executed without its machinery.

FastAPI reads the endpoint's signature for OpenAPI, as of any other route; a request then goes
from the service's own middleware straight to the endpoint: one string from the path, one pydantic
model from the query, bytes back.
Validation is by the same model and errors have the same shape.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from typing import Any, get_origin
from urllib.parse import parse_qsl

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import (
    InvalidParameterError,
    RequestError,
    error_response,
    invalid_parameter,
)
from service.identifiers import check_id
from service.running import Service

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
        allow: methods of all routes with this path.
        options: as of `APIRoute`.
    """

    def __init__(
        self,
        prefix: str,
        parameter: str,
        query: type[BaseModel],
        endpoint: Callable[..., Awaitable[bytes]],
        allow: str = "GET",
        **options: Any,
    ) -> None:
        super().__init__(f"{prefix}{{{parameter}:path}}", endpoint, methods=["GET"], **options)
        self.prefix = prefix
        self._parameter = parameter
        self._respond = endpoint
        self._allow = allow

        @lru_cache(DISTINCT_QUERIES)
        def parse(query_string: bytes) -> BaseModel:
            return _parse_query(query, query_string)

        self._parse = parse

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """By prefix; a regular expression's `.` would stop at a line break in an id."""
        if scope["type"] != "http" or not scope["path"].startswith(self.prefix):
            return Match.NONE, {}
        match = Match.FULL if scope["method"] == "GET" else Match.PARTIAL
        return match, {"endpoint": self.endpoint, "route": self}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        del receive  # a GET has no body
        if scope["method"] != "GET":
            raise HTTPException(405, headers={"Allow": self._allow})
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
        identifier: str = scope["path"][len(self.prefix) :]
        check_id(scope, identifier, self._parameter, service)
        return identifier


class LeanDispatch:
    """ASGI application of the lean routes.

    Args:
        routes: asked by their prefixes, of which each request has one.
    """

    def __init__(self, routes: Sequence[LeanRoute]) -> None:
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path: str = scope["path"]
        route = next(route for route in self._routes if path.startswith(route.prefix))
        scope["route"] = route
        try:
            await route.handle(scope, receive, send)
        except RequestError as error:
            await error_response(error)(scope, receive, send)


class LeanFastAPI(FastAPI):
    """FastAPI, around which requests for lean routes go: its own layers take a twentieth of them.

    What they pass is `lean`, made by `service.middleware`.
    """

    lean: ASGIApp
    lean_prefixes: tuple[str, ...] = ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, or the lifespan."""
        is_get = scope["type"] == "http" and scope["method"] == "GET"
        if is_get and scope["path"].startswith(self.lean_prefixes):
            scope["app"] = self
            await self.lean(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


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
