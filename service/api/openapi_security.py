"""Tags, API keys and scopes in the OpenAPI schema."""

from typing import Any

from fastapi import FastAPI

from service.api.openapi_errors import error_responses
from service.auth.key_file import KeyScope
from service.http.middleware.authentication import required_scopes, scope_entry
from service.settings import Settings

SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key."},
    "key": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "An API key, if `Authorization` is used for something else.",
    },
}
TAGS = [
    {"name": "recommend", "description": "Recommendations and similar items."},
    {"name": "items", "description": "Items: look up, add, change, delete."},
    {"name": "events", "description": "Interactions as they happen."},
    {"name": "users", "description": "Users: look up, erase."},
    {"name": "operations", "description": "Health, configuration, metrics and reload."},
]


def describe_access(app: FastAPI, settings: Settings) -> None:
    """Add API keys, scopes and the errors that every endpoint may return to the schema."""
    make = app.openapi
    security: list[dict[str, list[str]]] = [{name: []} for name in SECURITY_SCHEMES]
    if settings.keys is None:
        security.append({})  # no key is an alternative
    scopes = required_scopes(settings.open_metrics)

    def openapi() -> dict[str, Any]:
        schema = make()
        if "securitySchemes" not in schema["components"]:
            schema["components"]["securitySchemes"] = SECURITY_SCHEMES
            for path, operations in schema["paths"].items():
                for method, operation in operations.items():
                    scope = scopes.get(scope_entry(method.upper(), path), "admin")
                    _describe(operation, scope, security)
        return schema

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI's documentation does


def _describe(
    operation: dict[str, Any], scope: KeyScope | None, security: list[dict[str, list[str]]]
) -> None:
    codes = ["timed_out"]
    if "requestBody" in operation:
        codes = ["body_timeout", "unsupported_encoding", "timed_out"]
    if scope is not None:
        codes += ["unauthorized", "forbidden", "rate_limited"]
        operation["security"] = security
        operation["description"] += f"\n\nWith API keys: requires the scope `{scope}`."
    responses = operation["responses"]
    for status, response in error_responses(*codes).items():
        content = response["content"]["application/json"]
        content["schema"] = {"$ref": f"#/components/schemas/{response.pop('model').__name__}"}
        responses.setdefault(str(status), response)
    operation["responses"] = dict(sorted(responses.items()))
