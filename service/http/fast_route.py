"""Fast routes: routes that FastAPI describes in the schema but does not execute.

FastAPI reads the endpoint's signature for OpenAPI, as for any other route. A request then goes from
the last middleware straight to the endpoint: one id from the path, one pydantic model from the
query, JSON bytes back. Validation uses the same model, and errors have the same shape.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from inspect import signature
from typing import Any, Protocol, get_args

from fastapi.routing import APIRoute, APIRouter
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import RequestError
from service.http.error_handlers import error_response
from service.http.parameters import check_path_id, parse_query, refuse_query
from service.limiter import HAS_PLACE, ConcurrencyLimiter
from service.settings import Settings

DISTINCT_QUERIES = 1024
"""Number of query strings whose validated models are cached: clients send few different ones."""


class Limits(Protocol):
    """The part of the application's runtime that a fast route uses itself."""

    limiter: ConcurrencyLimiter
    settings: Settings


class FastRoute(APIRoute):
    """`GET <prefix>{id:id}?…` → JSON bytes.

    Args:
        path: ends in the only path parameter, which takes the rest of the path, slashes and line
            breaks included, percent-decoded.
        endpoint: takes the id, a frozen pydantic model of the query and the application's runtime,
            in this order, and returns the response's JSON.
        options: as for `APIRoute`.
    """

    def __init__(
        self, path: str, endpoint: Callable[..., Awaitable[bytes]], **options: Any
    ) -> None:
        super().__init__(path, endpoint, **options)
        self.prefix = path.partition("{")[0]
        parameter, query, _ = signature(endpoint).parameters.values()
        model: type[BaseModel] = get_args(query.annotation)[0]
        self._parameter = parameter.name
        self._respond = endpoint

        @lru_cache(DISTINCT_QUERIES)
        def parse(query_string: bytes) -> BaseModel:
            return parse_query(model, query_string)

        self._parse = parse

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """By prefix alone, which is faster than a regular expression."""
        if scope["type"] != "http" or not scope["path"].startswith(self.prefix):
            return Match.NONE, {}
        match = Match.FULL if scope["method"] == "GET" else Match.PARTIAL
        return match, {"endpoint": self.endpoint, "route": self}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        del receive  # a GET has no body
        if scope["method"] != "GET":
            raise HTTPException(405)
        runtime: Limits = scope["app"].state.runtime
        if HAS_PLACE in scope:
            body = await self._body(scope, runtime)
        else:
            async with runtime.limiter:
                body = await self._body(scope, runtime)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _body(self, scope: Scope, runtime: Limits) -> bytes:
        identifier: str = scope["path"][len(self.prefix) :]
        check_path_id(scope, identifier, self._parameter, runtime.settings.max_id_length)
        return await self._respond(identifier, self._parse(scope["query_string"]), runtime)


class BodyRoute(APIRoute):
    """A route that FastAPI executes, without query parameters: misplaced ones are refused."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        refuse_query(scope["path"], scope["query_string"])
        await super().handle(scope, receive, send)


class ResourceRouter(APIRouter):
    """The router of one resource: `fast_get` beside the methods of `APIRouter`.

    Operations are named after their endpoints, so that generated clients have `recommend()`.

    Args:
        tag: name of the resource in the schema.
        options: as for `APIRouter`.
    """

    def __init__(self, tag: str, **options: Any) -> None:
        super().__init__(
            tags=[tag],
            generate_unique_id_function=_operation_name,
            route_class=BodyRoute,
            **options,
        )

    def fast_get(
        self, path: str, **options: Any
    ) -> Callable[[Callable[..., Awaitable[bytes]]], Callable[..., Awaitable[bytes]]]:
        """Register a `FastRoute`; arguments as of `get`."""

        def register(endpoint: Callable[..., Awaitable[bytes]]) -> Callable[..., Awaitable[bytes]]:
            self.add_api_route(
                path, endpoint, methods=["GET"], route_class_override=FastRoute, **options
            )
            return endpoint

        return register


class FastDispatch:
    """ASGI middleware that answers requests for fast routes and passes on all others.

    What lies behind it, FastAPI's exception handling, exit stack and routing, would add about a
    twentieth to a fast request's time.

    Args:
        app: the rest of the application.
        routes: the fast routes.
    """

    def __init__(self, app: ASGIApp, routes: Sequence[FastRoute]) -> None:
        self._app = app
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on."""
        if scope["type"] == "http" and scope["method"] == "GET":
            path: str = scope["path"]
            for route in self._routes:
                if path.startswith(route.prefix):
                    scope["route"] = route
                    try:
                        await route.handle(scope, receive, send)
                    except RequestError as error:
                        await error_response(error)(scope, receive, send)
                    return
        await self._app(scope, receive, send)


def _operation_name(route: APIRoute) -> str:
    return route.name
