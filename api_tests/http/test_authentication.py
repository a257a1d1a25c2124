"""API keys and scopes: requests allowed, refused and limited, logs, and the schema."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.app import create_app
from service.http.middleware.authentication import REQUIRED_SCOPES, scope_entry
from service.redaction import new_key
from service.settings import Settings
from tests.support.running.api_keys import KEYS, authorization, entries
from tests.support.running.servers import RunningService
from tests.support.running.service_fixtures import Published, StartService
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow
UNKNOWN = new_key()


def code(response: httpx.Response) -> tuple[int, str | None]:
    error = response.json().get("error") if response.content else None
    return response.status_code, error["code"] if error else None


def test_a_key_allows_the_requests_of_its_scopes(
    start: StartService, key_file: Path, published: Published
) -> None:
    state = key_file.with_name("state.sqlite3")  # other tests share the store, not this state
    service = start(keys=key_file, log_level="debug", state=state)

    def ask(method: str, path: str, name: str | None, **options: Any) -> tuple[int, str | None]:
        headers = authorization(name) if name else {}
        return code(service.client.request(method, path, headers=headers, **options))

    user = published.known[0]
    event = {"events": [{"user_id": user, "item_id": "item-1"}]}
    for path in ("/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"):
        assert service.get(path).status_code == 200
    reads = [f"/recommend/{user}", "/similar/item-1", "/items/item-1", f"/users/{user}", "/info"]
    for path in reads:
        assert ask("GET", path, None) == (401, "unauthorized")
        assert ask("GET", path, "reader") == (200, None)
        assert ask("GET", path, "writer") == (403, "forbidden")
        assert ask("GET", path, "admin") == (403, "forbidden")
    assert ask("POST", "/recommend", "reader", json={"users": [user]}) == (200, None)
    assert ask("POST", "/recommend", "writer", json={"users": [user]}) == (403, "forbidden")
    assert ask("POST", "/events", "reader", json=event) == (403, "forbidden")
    assert ask("POST", "/events", "writer", json=event) == (202, None)
    assert ask("DELETE", f"/users/{user}", "reader") == (403, "forbidden")
    assert ask("PUT", "/items/item-1", "reader", json={}) == (403, "forbidden")
    assert ask("PUT", "/items/item-1", "writer", json={}) == (200, None)
    # Paths that are not in the table need `admin`, also where there is no endpoint.
    for path in ("/", "/nothing", "//recommend/x", "/recommendations", "/admin/nothing"):
        assert ask("GET", path, None) == (401, "unauthorized")
        assert ask("GET", path, "reader") == (403, "forbidden")
        assert ask("GET", path, "admin") == (404, "unknown_path")
    assert ask("PATCH", f"/recommend/{user}", "reader") == (403, "forbidden")
    assert ask("HEAD", f"/recommend/{user}", "reader") == (200, None)

    refused = service.get(f"/recommend/{user}")
    assert refused.headers["www-authenticate"].startswith("Bearer")
    assert refused.headers["x-request-id"] == refused.json()["error"]["request_id"]
    named = service.client.post("/events", json=event, headers=authorization("reader"))
    assert named.json()["error"]["message"] == "a key with the scope write is required"
    assert service.metric("requests_refused_total", key="reader", reason="scope") >= 5
    assert service.metric("requests_refused_total", key="", reason="unknown_key") >= len(reads)
    lines = service.events("request")
    assert {line["key"] for line in lines} == {None, "reader", "writer", "admin"}
    assert all(line["key"] for line in lines if line["endpoint"] == "/recommend/{user_id}")
    assert user not in service.log.read_text()


def test_headers_that_carry_a_key(start: StartService, key_file: Path) -> None:
    service = start(keys=key_file)

    def status(*headers: tuple[str, str | bytes]) -> int:
        sent = [(k.encode(), v if isinstance(v, bytes) else v.encode()) for k, v in headers]
        return service.client.get("/info", headers=sent).status_code

    good, bad = KEYS["reader"], UNKNOWN
    assert status(("X-API-Key", good)) == 200
    assert status(("authorization", f"bearer {good}")) == 200
    assert status(("Authorization", "Basic dXNlcjpwdw=="), ("X-API-Key", good)) == 200
    assert status(("Authorization", f"Bearer {bad}"), ("X-API-Key", good)) == 200
    for headers in (
        [("X-API-Key", bad)],
        [("X-API-Key", "")],
        [("X-API-Key", b"\xff\xfe")],
        [("X-API-Key", good[:-1])],
        [("X-API-Key", good + "x")],
        [("X-API-Key", good.upper())],
        [("Authorization", good)],
        [("Authorization", f"Basic {good}")],
        [("Authorization", "Bearer")],
        [("Authorization", f"Bearer {good}"), ("X-API-Key", bad)],
        [("Cookie", f"key={good}")],
    ):
        assert status(*headers) == 401, headers
    assert service.client.get(f"/info?api_key={good}").status_code == 401


def test_a_key_over_its_rate_is_refused(start: StartService, key_file: Path) -> None:
    service = start(keys=key_file)
    answers = [service.client.get("/info", headers=authorization("slow")) for _ in range(5)]
    assert [a.status_code for a in answers] == [200, 200, 200, 429, 429]
    assert code(answers[-1]) == (429, "rate_limited")
    assert 0 < int(answers[-1].headers["retry-after"]) <= 1000
    assert service.client.get("/info", headers=authorization("reader")).status_code == 200
    # A request that the scope forbids takes nothing from the rate.
    assert service.client.post("/events", headers=authorization("slow")).status_code == 403
    assert service.metric("requests_refused_total", key="slow", reason="rate") == 2


def test_a_batch_counts_by_its_cost(start: StartService, key_file: Path) -> None:
    key_file.write_text(entries("reader", requests_per_second=0.1, burst=100))
    service = start(keys=key_file)
    body = {"users": [f"user-{n}" for n in range(500)], "k": 20}
    headers = authorization("reader")
    assert service.post("/recommend", json=body, headers=headers).status_code == 200
    refused = service.client.get("/info", headers=headers)
    assert code(refused) == (429, "rate_limited")
    # 500 users at 140 points are 350 requests, and 100 may come at once.
    assert 2300 < int(refused.headers["retry-after"]) <= 2510


def test_after_retry_after_a_key_is_accepted_again(start: StartService, key_file: Path) -> None:
    key_file.write_text(entries("reader", requests_per_second=0.5, burst=1))
    service = start(keys=key_file)

    answers: list[httpx.Response] = []

    def refused() -> bool:
        answers.append(service.client.get("/info", headers=authorization("reader")))
        return answers[-1].status_code == 429

    wait_until(refused, "two requests within two seconds")
    wait = int(answers[-1].headers["retry-after"])
    assert wait in (1, 2)
    time.sleep(wait)
    assert not refused()


@pytest.fixture
def recorded(start: StartService, key_file: Path) -> Iterator[tuple[RunningService, list[str]]]:
    """A service that logs everything, and a list for its answers; no key may be in either."""
    service = start(keys=key_file, log_level="debug")
    answers: list[str] = []
    yield service, answers
    everything = "".join(answers) + service.get("/metrics").text + service.log.read_text()
    for key in (*KEYS.values(), UNKNOWN):
        assert key[4:20] not in everything
    assert "drk_" in everything


def test_no_key_is_in_answers_metrics_or_logs(
    recorded: tuple[RunningService, list[str]], key_file: Path, published: Published
) -> None:
    service, answers = recorded
    user = published.known[0]
    for key in (KEYS["reader"], UNKNOWN):
        for path in (
            f"/recommend/{user}?k={key}",
            f"/recommend/{user}?{key}=1",
            f"/recommend/{user}?k=" + "x" * 40 + key,
            f"/similar/item-1?by={key}",
            f"/similar/{key}",
            f"/items/{key}",
            f"/{key}",
            f"/recommend/{user}?filter={key}",
            f"/recommend/{user}?filter={key}%3D1",
        ):
            for headers in (authorization("reader"), {"Authorization": f"Bearer {key}"}, {}):
                response = service.client.get(path, headers=headers)
                assert response.status_code in (401, 403, 404, 422)
                answers.append(response.text)
        response = service.client.get(
            "/info", headers=authorization("reader") | {"X-Request-ID": key, "User-Agent": key}
        )
        answers += [response.text, str(response.headers)]
        for body in ({"users": key}, {key: 1}, key, {"users": [user], "k": key}):
            response = service.client.post("/recommend", json=body, headers=authorization("reader"))
            assert response.status_code == 422
            answers.append(response.text)
        response = service.client.post("/recommend", content=key, headers=authorization("reader"))
        answers.append(response.text)
    key_file.write_text(entries("reader", **{KEYS["reader"]: 1}))
    wait_until(lambda: service.events("key_file_refused"), "the refusal")
    key_file.write_text(entries("reader", name=KEYS["reader"]))
    wait_until(lambda: len(service.events("key_file_refused")) == 2, "the refusal")


def test_settings_close_metrics_and_docs(start: StartService, key_file: Path) -> None:
    service = start(keys=key_file, open_metrics="false", docs="off")
    assert code(service.get("/metrics")) == (401, "unauthorized")
    assert service.client.get("/metrics", headers=authorization("reader")).status_code == 403
    assert service.client.get("/metrics", headers=authorization("admin")).status_code == 200
    for path in ("/docs", "/docs/start.js", "/openapi.json"):
        assert code(service.get(path)) == (404, "unknown_path")


def test_a_service_without_keys_on_a_public_address_warns(
    start: StartService, key_file: Path
) -> None:
    warned = "open_to_everybody"
    assert not start(host="localhost").events(warned)
    assert not start(host="0.0.0.0", keys=key_file).events(warned)
    service = start(host="0.0.0.0", workers=2)
    wait_until(lambda: len(service.events("serving")) == 2, "both workers")
    assert len(service.events(warned)) == 1


def test_the_schema_names_the_scopes(start: StartService, key_file: Path) -> None:
    either: list[dict[str, list[str]]] = [{"bearer": []}, {"key": []}]
    schema = start(keys=key_file, open_metrics="false").get("/openapi.json").json()
    assert set(schema["components"]["securitySchemes"]) == {"bearer", "key"}
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            scope = REQUIRED_SCOPES[scope_entry(method.upper(), path)] or (
                "admin" if path == "/metrics" else None
            )
            assert operation.get("security") == (either if scope else None)
            assert ({"401", "403", "429"} <= set(operation["responses"])) == bool(scope)
            if scope:
                assert f"scope `{scope}`" in operation["description"]
    open_schema = create_app(Settings(store="x")).openapi()
    assert open_schema["paths"]["/info"]["get"]["security"] == [*either, {}]
