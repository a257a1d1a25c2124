"""Keys, scopes and what every endpoint may answer besides, in the OpenAPI schema."""

from typing import Any

from fastapi import FastAPI

from service.access import row, table
from service.key_file import KeyScope
from service.responses import error_responses
from service.settings import Settings

SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key."},
    "key": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "An API key, where `Authorization` is taken.",
    },
}


def describe_access(app: FastAPI, settings: Settings) -> None:
    """Add them to an application's schema, whenever that is made."""
    make = app.openapi
    security: list[dict[str, list[str]]] = [{name: []} for name in SCHEMES]
    if settings.keys is None:
        security.append({})  # or nothing
    scopes = table(settings.open_metrics)

    def openapi() -> dict[str, Any]:
        schema = make()
        if "securitySchemes" not in schema["components"]:
            schema["components"]["securitySchemes"] = SCHEMES
            for path, operations in schema["paths"].items():
                for method, operation in operations.items():
                    scope = scopes.get(row(method.upper(), path), "admin")
                    _describe(operation, scope, security)
        return schema

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI's documentation has it


def _describe(
    operation: dict[str, Any], scope: KeyScope | None, security: list[dict[str, list[str]]]
) -> None:
    codes = ["body_timeout", "timed_out"] if "requestBody" in operation else ["timed_out"]
    if scope is not None:
        codes += ["unauthorized", "forbidden", "rate_limited"]
        operation["security"] = security
        operation["description"] += f"\n\nWhere there are API keys, one with the scope `{scope}`."
    answers = operation["responses"]
    for status, answer in error_responses(*codes).items():
        content = answer["content"]["application/json"]
        content["schema"] = {"$ref": f"#/components/schemas/{answer.pop('model').__name__}"}
        answers.setdefault(str(status), answer)
    operation["responses"] = dict(sorted(answers.items()))
