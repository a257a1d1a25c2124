"""Requests of browsers from other origins."""

from pathlib import Path

import pytest

from tests.support.running.api_keys import authorization
from tests.support.running.service_fixtures import StartService

pytestmark = pytest.mark.slow


def test_browser_requests_from_other_origins(start: StartService, key_file: Path) -> None:
    shop = "https://shop.example"
    preflight = {
        "Origin": shop,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-api-key,content-type",
    }
    closed = start()
    assert closed.client.options("/events", headers=preflight).status_code == 405
    asked = closed.client.get("/info", headers={"Origin": shop})
    assert not any(name.startswith("access-control") for name in asked.headers)

    service = start(keys=key_file, cors_origins=f"{shop}, http://localhost:3000")
    allowed = service.client.options("/events", headers=preflight)  # browsers send no key here
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == shop
    other = service.client.options(
        "/events", headers=preflight | {"Origin": "https://evil.example"}
    )
    assert "access-control-allow-origin" not in other.headers
    assert other.status_code == 400
    assert other.json()["error"]["message"] == "Disallowed CORS origin"
    assert other.json()["error"]["request_id"] == other.headers["x-request-id"]
    for asked_for in (
        {"Access-Control-Request-Method": "HEAD"},
        {"Access-Control-Request-Headers": "content-encoding,content-type"},
    ):
        assert service.client.options("/info", headers=preflight | asked_for).status_code == 200
    for headers, status in ((authorization("reader"), 200), ({}, 401)):
        answer = service.client.get("/info", headers={"Origin": shop} | headers)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (status, shop)
        assert "X-Request-ID" in answer.headers["access-control-expose-headers"]
        assert "access-control-allow-credentials" not in answer.headers
