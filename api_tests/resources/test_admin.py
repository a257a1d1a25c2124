"""Health, readiness, `/info`, metrics, and the OpenAPI schema."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from service.schemas.admin import Health, Info, ReadinessStatus
from service.settings import Settings
from tests.support.running.servers import RunningService
from tests.support.running.service_fixtures import Published, StartService
from tests.support.waiting import wait_until


def test_health_and_readiness(service: RunningService, published: Published) -> None:
    Health.model_validate_json(service.get("/healthz").content)
    ready = ReadinessStatus.model_validate_json(service.get("/readyz").content)
    assert ready == ReadinessStatus(
        bundle_version=published.version, degraded=False, redis="off", store="ok"
    )


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


@pytest.mark.slow
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
        "explain",
        "exclude_seen",
        "cursor",
    ]
    assert set(operation["responses"]) == {
        *("200", "401", "403", "410", "422", "429", "500", "503", "504")
    }
    assert operation["operationId"] == "recommend"
