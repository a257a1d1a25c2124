"""Who may do what: the table, and the middleware that asks for a key."""

from collections.abc import Mapping
from math import ceil
from time import monotonic
from typing import Literal

from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import (
    ForbiddenError,
    RateLimitedError,
    RequestError,
    UnauthorizedError,
    error_response,
)
from service.key_file import KeyScope
from service.key_ring import KeyRing
from service.metrics import Metrics

KEY_NAME = "drepmrec.key"
"""Where the scope of a request has the name of its key, if it came with one."""

TABLE: Mapping[str, KeyScope | None] = {
    "GET /healthz": None,
    "GET /readyz": None,
    "GET /metrics": None,
    "GET /docs": None,
    "GET /redoc": None,
    "GET /openapi.json": None,
    "GET /recommend": "read",
    "POST /recommend": "read",
    "GET /similar": "read",
    "GET /items": "read",
    "POST /items": "write",
    "PUT /items": "write",
    "DELETE /items": "write",
    "GET /users": "read",
    "DELETE /users": "write",
    "POST /events": "write",
    "GET /browse": "read",
    "GET /info": "read",
    "GET /admin": "admin",
    "POST /admin": "admin",
    "PUT /admin": "admin",
    "DELETE /admin": "admin",
}
"""The scope that a key must have, by method and first segment of the path; None asks for no key.
What is not here needs `admin`."""


def table(open_metrics: bool) -> Mapping[str, KeyScope | None]:
    """The table, perhaps with `admin` for the metrics."""
    return TABLE if open_metrics else {**TABLE, "GET /metrics": "admin"}


def row(method: str, path: str) -> str:
    """The row of the table for a request; HEAD is a GET."""
    method = "GET" if method == "HEAD" else method
    return f"{method} /{path[1:].partition('/')[0]}"


class Access:
    """ASGI middleware: 401 without a key, 403 without its scope, 429 above its rate.

    Args:
        app: what is behind it.
        keys: the keys in force.
        metrics: where refusals are counted.
        open_metrics: whether `/metrics` asks for no key.
    """

    def __init__(self, app: ASGIApp, keys: KeyRing, metrics: Metrics, open_metrics: bool) -> None:
        self._app = app
        self._keys = keys
        self._refused = metrics.refused
        self._table = table(open_metrics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request pass, or answer with the reason why not."""
        if scope["type"] == "http":
            needed = self._table.get(row(scope["method"], scope["path"]), "admin")
            try:
                if needed is not None:
                    self._admit(scope, needed)
            except RequestError as error:
                await error_response(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _admit(self, scope: Scope, needed: KeyScope) -> None:
        key = _key(scope)
        holder = None if key is None else self._keys.find(key)
        if holder is None:
            self._refuse("", "unknown_key")
            raise UnauthorizedError(
                "this needs an API key, as `Authorization: Bearer …` or `X-API-Key`"
                if key is None
                else "the API key is not known"
            )
        scope[KEY_NAME] = holder.name
        if needed not in holder.scopes:
            self._refuse(holder.name, "scope")
            raise ForbiddenError(f"this needs a key with the scope {needed}")
        wait = holder.bucket.take(monotonic()) if holder.bucket else 0.0
        if wait:
            self._refuse(holder.name, "rate")
            raise RateLimitedError("the key's requests come too often", retry_after=ceil(wait))

    def _refuse(self, name: str, reason: Literal["unknown_key", "scope", "rate"]) -> None:
        self._refused.labels(name, reason).inc()


def _key(scope: Scope) -> str | None:
    """The key that a request brings; `X-API-Key` counts where a proxy uses `Authorization`."""
    found = None
    for name, value in scope["headers"]:
        if name == b"x-api-key":
            return str(value, "latin-1").strip()
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            found = str(value[7:], "latin-1").strip()
    return found
