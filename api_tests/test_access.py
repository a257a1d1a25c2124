"""Who may do what, against a real server."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import Published, StartService
from fastapi.routing import iter_route_contexts
from servers import RunningService, wait_until

from service.access import KEY_NAME, TABLE, Access, row
from service.app import create_app
from service.key_ring import KeyRing
from service.key_text import digest, new_key
from service.metrics import Metrics
from service.settings import Settings

KEYS = {name: new_key() for name in ("reader", "writer", "admin", "slow")}
SCOPES = {"reader": ["read"], "writer": ["write"], "admin": ["admin"], "slow": ["read"]}
UNKNOWN = new_key()


def entries(*names: str, **changes: Any) -> str:
    return json.dumps(
        [
            {
                "name": name,
                "sha256": digest(KEYS[name]).hex(),
                "scopes": SCOPES[name],
                "requests_per_second": 0.5 if name == "slow" else None,
                **({"burst": 3} if name == "slow" else {}),
                **changes,
            }
            for name in names
        ]
    )


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys.json"
    path.write_text(entries(*KEYS))
    return path


def by(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {KEYS[name]}"}


def code(response: httpx.Response) -> tuple[int, str | None]:
    error = response.json().get("error") if response.content else None
    return response.status_code, error["code"] if error else None


def test_a_key_opens_what_its_scope_says(
    start: StartService, key_file: Path, published: Published
) -> None:
    state = key_file.with_name("state.sqlite3")  # what is written here is nobody else's business
    service = start(keys=key_file, log_level="debug", state=state)

    def ask(method: str, path: str, name: str | None, **options: Any) -> tuple[int, str | None]:
        headers = by(name) if name else {}
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
    # What is not in the table needs `admin`, though there is nothing.
    for path in ("/", "/nothing", "//recommend/x", "/recommendations", "/admin/nothing"):
        assert ask("GET", path, None) == (401, "unauthorized")
        assert ask("GET", path, "reader") == (403, "forbidden")
        assert ask("GET", path, "admin") == (404, "unknown_path")
    assert ask("PATCH", f"/recommend/{user}", "reader") == (403, "forbidden")
    assert ask("HEAD", f"/recommend/{user}", "reader") == (405, None)

    refused = service.get(f"/recommend/{user}")
    assert refused.headers["www-authenticate"].startswith("Bearer")
    assert refused.headers["x-request-id"] == refused.json()["error"]["request_id"]
    named = service.client.post("/events", json=event, headers=by("reader"))
    assert named.json()["error"]["message"] == "this needs a key with the scope write"
    assert service.metric("requests_refused_total", key="reader", reason="scope") >= 5
    assert service.metric("requests_refused_total", key="", reason="unknown_key") >= len(reads)
    lines = service.events("request")
    assert {line["key"] for line in lines} == {None, "reader", "writer", "admin"}
    assert all(line["key"] for line in lines if line["endpoint"] == "/recommend/{user_id}")
    assert user not in service.log.read_text()


def test_ways_to_show_a_key(start: StartService, key_file: Path) -> None:
    service = start(keys=key_file)

    def status(*headers: tuple[str, str | bytes]) -> int:
        return service.client.get("/info", headers=list(headers)).status_code

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


def test_a_key_that_comes_too_often(start: StartService, key_file: Path) -> None:
    service = start(keys=key_file)
    answers = [service.client.get("/info", headers=by("slow")) for _ in range(5)]
    assert [a.status_code for a in answers] == [200, 200, 200, 429, 429]
    assert code(answers[-1]) == (429, "rate_limited")
    wait = int(answers[-1].headers["retry-after"])
    assert wait in (1, 2)
    assert service.client.get("/info", headers=by("reader")).status_code == 200
    assert service.client.post("/events", headers=by("slow")).status_code == 403  # costs nothing
    time.sleep(wait)
    assert service.client.get("/info", headers=by("slow")).status_code == 200
    assert service.metric("requests_refused_total", key="slow", reason="rate") == 2


def test_keys_rotate_while_it_runs(start: StartService, key_file: Path) -> None:
    service = start(keys=key_file)

    def status(name: str) -> int:
        return service.client.get("/info", headers=by(name)).status_code

    for _ in range(3):
        status("slow")
    key_file.write_text(entries("slow", "reader"))
    wait_until(lambda: service.events("key_file_read"), "the new file")
    assert (status("reader"), status("writer")) == (200, 401)
    assert status("slow") == 429  # a new file is no new bucket

    for number, broken in enumerate(("[{]", "[]", entries("reader", scopes=["root"])), 1):
        key_file.write_text(broken)
        wait_until(lambda n=number: len(service.events("key_file_refused")) == n, "the refusal")
    key_file.unlink()
    wait_until(lambda: len(service.events("key_file_refused")) == 4, "the refusal")
    assert service.metric("key_files_refused_total") == 4
    assert status("reader") == 200
    assert str(key_file) in service.events("key_file_refused")[0]["reason"]

    # As Kubernetes changes a mounted secret: a link that names another folder.
    for name in ("reader", "writer"):
        (key_file.parent / name).mkdir()
        (key_file.parent / name / "keys.json").write_text(entries(name))
    key_file.symlink_to(key_file.parent / "reader" / "keys.json")
    wait_until(lambda: len(service.events("key_file_read")) == 2, "the file behind the link")
    key_file.with_suffix(".new").symlink_to(key_file.parent / "writer" / "keys.json")
    key_file.with_suffix(".new").rename(key_file)
    wait_until(lambda: status("reader") == 401, "the other file")
    assert status("writer") == 403


def test_each_worker_follows_the_file(start: StartService, key_file: Path) -> None:
    service = start(keys=key_file, workers=2)
    wait_until(lambda: len(service.events("serving")) == 2, "both workers")
    key_file.write_text(entries("reader"))
    wait_until(lambda: len(service.events("key_file_read")) == 2, "both workers")
    for _ in range(20):
        with httpx.Client(base_url=service.url) as client:
            assert client.get("/info", headers=by("slow")).status_code == 401


@pytest.fixture
def told(start: StartService, key_file: Path) -> Iterator[tuple[RunningService, list[str]]]:
    """A service that logs everything, and what it answered; no key is in either."""
    service = start(keys=key_file, log_level="debug")
    answers: list[str] = []
    yield service, answers
    everything = "".join(answers) + service.get("/metrics").text + service.log.read_text()
    for key in (*KEYS.values(), UNKNOWN):
        assert key[4:20] not in everything
    assert "drk_" in everything


def test_keys_appear_nowhere(
    told: tuple[RunningService, list[str]], key_file: Path, published: Published
) -> None:
    service, answers = told
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
            for headers in (by("reader"), {"Authorization": f"Bearer {key}"}, {}):
                response = service.client.get(path, headers=headers)
                assert response.status_code in (401, 403, 404, 422)
                answers.append(response.text)
        response = service.client.get(
            "/info", headers=by("reader") | {"X-Request-ID": key, "User-Agent": key}
        )
        answers += [response.text, str(response.headers)]
        for body in ({"users": key}, {key: 1}, key, {"users": [user], "k": key}):
            response = service.client.post("/recommend", json=body, headers=by("reader"))
            assert response.status_code == 422
            answers.append(response.text)
        response = service.client.post("/recommend", content=key, headers=by("reader"))
        answers.append(response.text)
    key_file.write_text(entries("reader", **{KEYS["reader"]: 1}))
    wait_until(lambda: service.events("key_file_refused"), "the refusal")
    key_file.write_text(entries("reader", name=KEYS["reader"]))
    wait_until(lambda: len(service.events("key_file_refused")) == 2, "the refusal")


def test_what_is_closed_by_settings(start: StartService, key_file: Path) -> None:
    service = start(keys=key_file, open_metrics="false", docs="off")
    assert code(service.get("/metrics")) == (401, "unauthorized")
    assert service.client.get("/metrics", headers=by("reader")).status_code == 403
    assert service.client.get("/metrics", headers=by("admin")).status_code == 200
    for path in ("/docs", "/redoc", "/openapi.json", "/docs/oauth2-redirect"):
        assert code(service.get(path)) == (404, "unknown_path")


def test_a_service_that_is_open_says_so(start: StartService, key_file: Path) -> None:
    warned = "open_to_everybody"
    assert not start(host="localhost").events(warned)
    assert not start(host="0.0.0.0", keys=key_file).events(warned)
    service = start(host="0.0.0.0", workers=2)
    wait_until(lambda: len(service.events("serving")) == 2, "both workers")
    assert len(service.events(warned)) == 1


def test_every_route_has_its_row(published: Published) -> None:
    app = create_app(Settings(store=published.store, pictures=published.store))
    rows = set()
    for route in iter_route_contexts(app.routes):
        assert route.methods, route
        rows |= {row(method, route.path) for method in route.methods}
    assert not rows - set(TABLE)
    # Rows of endpoints that there are not: only of what may come under a name that is taken.
    assert {line.partition(" ")[2] for line in TABLE} - {
        line.partition(" ")[2] for line in rows
    } <= {"/admin"}


def test_the_schema_says_which_key(start: StartService, key_file: Path) -> None:
    either = [{"bearer": []}, {"key": []}]
    schema = start(keys=key_file, open_metrics="false").get("/openapi.json").json()
    assert set(schema["components"]["securitySchemes"]) == {"bearer", "key"}
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            scope = TABLE[row(method.upper(), path)] or ("admin" if path == "/metrics" else None)
            assert operation.get("security") == (either if scope else None)
            assert ({"401", "403", "429"} <= set(operation["responses"])) == bool(scope)
            if scope:
                assert f"scope `{scope}`" in operation["description"]
    open_schema = create_app(Settings(store=Path("x"))).openapi()
    assert open_schema["paths"]["/info"]["get"]["security"] == [*either, {}]


def test_pages_of_other_origins(start: StartService, key_file: Path) -> None:
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
    for headers, status in ((by("reader"), 200), ({}, 401)):
        answer = service.client.get("/info", headers={"Origin": shop} | headers)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (status, shop)
        assert "X-Request-ID" in answer.headers["access-control-expose-headers"]
        assert "access-control-allow-credentials" not in answer.headers


def test_a_check_costs_microseconds(key_file: Path) -> None:
    """The whole of `Access` for a request: 3 µs, of which a busy machine makes more."""
    key_file.write_text(entries("reader", requests_per_second=1e6, burst=1_000_000))
    metrics = Metrics()

    async def nothing(*_: Any) -> None:
        pass

    access = Access(nothing, KeyRing(key_file, metrics), metrics, True)
    sent = [(b"host", b"x"), (b"user-agent", b"y"), (b"accept", b"*/*")]
    sent.append((b"authorization", b"Bearer " + KEYS["reader"].encode()))
    scope = {"type": "http", "method": "GET", "path": "/recommend/user-1", "headers": sent}

    async def run(times: int) -> float:
        started = time.perf_counter()
        for _ in range(times):
            await access(scope, nothing, nothing)  # type: ignore[arg-type]
        return (time.perf_counter() - started) / times

    best = min(asyncio.run(run(2000)) for _ in range(5))
    assert best < 15e-6
    assert scope[KEY_NAME] == "reader"
