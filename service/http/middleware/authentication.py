"""Authentication: which scope each endpoint requires, and the middleware that checks API keys."""

from collections.abc import Mapping
from math import ceil
from time import monotonic
from typing import Literal

from starlette.types import ASGIApp, Receive, Scope, Send

from service.auth.key_file import KeyScope
from service.auth.key_store import KeyStore
from service.auth.rate_limit import TokenBucket
from service.errors import (
    ForbiddenError,
    RateLimitedError,
    RequestError,
    UnauthorizedError,
)
from service.http.error_handlers import error_response
from service.observability.metrics import Metrics

KEY_NAME = "drepmrec.key"
"""ASGI scope entry that holds the name of the request's API key, if any."""

_BUCKET = "drepmrec.bucket"

REQUIRED_SCOPES: Mapping[str, KeyScope | None] = {
    "GET /healthz": None,
    "GET /readyz": None,
    "GET /metrics": None,
    "GET /docs": None,
    "GET /studio": None,
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
    "GET /pictures": "read",
    "GET /audience": "admin",
    "POST /preview": "admin",
    "GET /info": "read",
    "GET /admin": "admin",
    "POST /admin": "admin",
    "PUT /admin": "admin",
    "DELETE /admin": "admin",
}
"""Key scope that a request requires, by method and first segment of the path. None requires no key;
what is not listed requires `admin`."""


def required_scopes(open_metrics: bool) -> Mapping[str, KeyScope | None]:
    """`REQUIRED_SCOPES`, with `admin` for `/metrics` unless metrics are open."""
    return REQUIRED_SCOPES if open_metrics else {**REQUIRED_SCOPES, "GET /metrics": "admin"}


def scope_entry(method: str, path: str) -> str:
    """The entry of `REQUIRED_SCOPES` for a request; HEAD counts as GET."""
    method = "GET" if method == "HEAD" else method
    return f"{method} /{path[1:].partition('/')[0]}"


class Authentication:
    """ASGI middleware: 401 without a key, 403 without its scope, 429 above its rate.

    Args:
        app: the next layer.
        keys: the current keys.
        metrics: counts refusals.
        open_metrics: whether `/metrics` requires no key.
    """

    def __init__(self, app: ASGIApp, keys: KeyStore, metrics: Metrics, open_metrics: bool) -> None:
        self._app = app
        self._keys = keys
        self._refused = metrics.refused
        self._scopes = required_scopes(open_metrics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on one request, or answer why it is refused."""
        if scope["type"] == "http":
            needed = self._scopes.get(scope_entry(scope["method"], scope["path"]), "admin")
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
                "an API key is required, as `Authorization: Bearer …` or `X-API-Key`"
                if key is None
                else "the API key is unknown"
            )
        scope[KEY_NAME] = holder.name
        if needed not in holder.scopes:
            self._refuse(holder.name, "scope")
            raise ForbiddenError(f"a key with the scope {needed} is required")
        wait = holder.bucket.take(monotonic()) if holder.bucket else 0.0
        scope[_BUCKET] = holder.bucket
        if wait:
            self._refuse(holder.name, "rate")
            raise RateLimitedError("the API key exceeded its rate", retry_after=ceil(wait))

    def _refuse(self, name: str, reason: Literal["unknown_key", "scope", "rate"]) -> None:
        self._refused.labels(name, reason).inc()


def charge(scope: Scope, requests: int) -> None:
    """Count a request as so many more in the rate of its API key, if that has one."""
    bucket: TokenBucket | None = scope.get(_BUCKET)
    if bucket is not None and requests > 0:
        bucket.charge(monotonic(), requests)


def _key(scope: Scope) -> str | None:
    """The API key of a request; `X-API-Key` is for where a proxy uses `Authorization`."""
    found = None
    for name, value in scope["headers"]:
        if name == b"x-api-key":
            return str(value, "latin-1").strip()
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            found = str(value[7:], "latin-1").strip()
    return found
