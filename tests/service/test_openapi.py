"""The OpenAPI schema: its copy in docs, its examples, and the pages about it."""

import json
from typing import Any

import pytest
from pydantic import BaseModel

from service.openapi import openapi_text
from service.schemas import admin, audience, bundles, events, items, recommend, similar, users
from tests.support.paths import DOCS


def test_the_schema_in_docs_is_the_applications() -> None:
    committed = (DOCS / "reference" / "openapi.json").read_text()
    assert committed == openapi_text(), "python -m service.openapi > docs/reference/openapi.json"


def test_every_endpoint_is_documented() -> None:
    page = (DOCS / "reference" / "http-api.md").read_text()
    for path, methods in json.loads(openapi_text())["paths"].items():
        for method in methods:
            assert f"`{method.upper()} {path}`" in page


def test_everything_in_the_schema_has_an_example() -> None:
    schema = json.loads(openapi_text())

    def has_example(place: dict[str, Any]) -> bool:
        within = place.get("schema", {})
        model = within.get("$ref", "").rpartition("/")[2]
        described = schema["components"]["schemas"].get(model, {})
        return any("example" in one or "examples" in one for one in (place, within, described))

    missing = []
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            places = {p["name"]: p for p in operation.get("parameters", [])}
            contents = {"body": operation.get("requestBody", {}), **operation["responses"]}
            for name, body in contents.items():
                places |= {f"{name} {kind}": c for kind, c in body.get("content", {}).items()}
            missing += [(method, path, name) for name, p in places.items() if not has_example(p)]
    assert not missing


@pytest.mark.parametrize(
    "module", [admin, audience, bundles, events, items, recommend, similar, users]
)
def test_examples_are_valid(module: Any) -> None:
    models = [m for m in vars(module).values() if isinstance(m, type) and issubclass(m, BaseModel)]
    shown = 0
    for model in models:
        extra: Any = model.model_config.get("json_schema_extra") or {}
        alone = [extra["example"]] if "example" in extra else []
        for example in [*alone, *extra.get("examples", [])]:
            model.model_validate_json(json.dumps(example))
            shown += 1
    assert shown
