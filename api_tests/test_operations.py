import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import Published, StartService
from pydantic import BaseModel
from servers import RunningService, clean_environment, wait_until

from service import operation_schemas, postings, queries, schemas
from service.openapi import openapi_text
from service.operation_schemas import Health, Info, Readiness
from service.settings import Settings

DOCS = Path(__file__).parents[1] / "docs"


def test_health_and_readiness(service: RunningService, published: Published) -> None:
    Health.model_validate_json(service.get("/healthz").content)
    ready = Readiness.model_validate_json(service.get("/readyz").content)
    assert ready == Readiness(bundle_version=published.version, degraded=False, redis="off")


def test_info_describes_bundle_limits_and_settings(
    service: RunningService, published: Published
) -> None:
    info = Info.model_validate_json(service.get("/info").content)
    assert (info.bundle.version, info.bundle.users, info.bundle.dim) == (published.version, 500, 16)
    assert [part.name for part in info.bundle.parts] == ["behaviour", "image", "text"]
    assert info.bundle.report == published.contents.report
    assert (info.limits.max_k, info.threads) == (500, 1)
    assert set(info.settings) == set(Settings.model_fields)


def test_metrics_move(service: RunningService) -> None:
    endpoint = "/recommend/{user_id}"
    before = service.metric("request_seconds_count", endpoint=endpoint, status="200")
    wrong = service.metric("request_seconds_count", endpoint=endpoint, status="422")
    popular = service.metric("fallbacks_total", reason="unknown_user")
    searches = service.metric("stage_seconds_count", stage="search")
    for _ in range(3):
        service.get("/recommend/user-7")
    service.get("/recommend/never-seen")
    service.get("/recommend/user-7?k=0")
    assert service.metric("request_seconds_count", endpoint=endpoint, status="200") == before + 4
    assert service.metric("request_seconds_count", endpoint=endpoint, status="422") == wrong + 1
    assert service.metric("fallbacks_total", reason="unknown_user") == popular + 1
    assert service.metric("stage_seconds_count", stage="search") == searches + 3
    assert service.metric("bundle_info") == 1
    assert 0 < service.metric("bundle_age_seconds") < 3600
    assert service.metric("requests_in_flight") == 1  # the one that asks


def test_paths_that_scanners_try_make_no_labels(service: RunningService) -> None:
    service.get("/wp-login.php")
    text = service.get("/metrics").text
    assert "wp-login" not in text
    assert 'endpoint="unmatched",status="404"' in text


def test_metrics_of_two_workers_are_added_up(start: StartService, published: Published) -> None:
    service = start(workers=2)
    users = published.known[:100]
    with ThreadPoolExecutor(8) as pool:
        for answer in pool.map(lambda user: service.get(f"/recommend/{user}"), users[:30] * 4):
            published.check(answer.json())
    endpoint = "/recommend/{user_id}"
    assert service.metric("request_seconds_count", endpoint=endpoint, status="200") == 120
    assert service.metric("bundle_info") == 1
    # The second one may still be starting while the first one has answered everything.
    wait_until(lambda: len(service.events("serving")) == 2, "both workers serve")
    assert service.terminate() == 0
    wait_until(lambda: len(service.events("stopped")) == 2, "both workers stopped")


def test_the_schema_in_docs_is_the_applications() -> None:
    committed = (DOCS / "openapi.json").read_text()
    assert committed == openapi_text(), "python -m service.openapi > docs/openapi.json"


def test_every_endpoint_and_setting_is_documented() -> None:
    page = (DOCS / "service.md").read_text()
    for path, methods in json.loads(openapi_text())["paths"].items():
        for method in methods:
            assert f"`{method.upper()} {path}`" in page
    for name in Settings.model_fields:
        assert f"| `--{name.replace('_', '-')}` |" in page


def test_the_schema_describes_parameters_examples_and_errors(service: RunningService) -> None:
    schema = service.get("/openapi.json").json()
    operation = schema["paths"]["/recommend/{user_id}"]["get"]
    assert [p["name"] for p in operation["parameters"]] == [
        "user_id",
        "k",
        "exclude",
        "filter",
        "diversity",
        "weights",
        "boost",
        "exclude_seen",
        "explain",
        "cursor",
    ]
    assert set(operation["responses"]) == {
        *("200", "401", "403", "410", "422", "429", "500", "503", "504")
    }
    assert operation["operationId"] == "recommend"


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


@pytest.mark.parametrize("module", [schemas, operation_schemas, queries, postings])
def test_examples_are_what_they_are_examples_of(module: Any) -> None:
    models = [m for m in vars(module).values() if isinstance(m, type) and issubclass(m, BaseModel)]
    shown = 0
    for model in models:
        extra = model.model_config.get("json_schema_extra") or {}
        assert isinstance(extra, dict)
        alone = [extra["example"]] if "example" in extra else []
        for example in [*alone, *extra.get("examples", [])]:
            model.model_validate_json(json.dumps(example))
            shown += 1
    assert shown


def test_the_service_loads_neither_torch_nor_training() -> None:
    check = "import sys, service.server; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", check],
        capture_output=True,
        text=True,
        check=True,
        env=clean_environment(),
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"torch", "models", "training", "scipy", "pandas", "transformers"}
