"""The stack around FastAPI: defects, errors and ids of fast and of other routes."""

import asyncio
from typing import Any

import httpx
import pytest
from fastapi.responses import StreamingResponse
from starlette.middleware import Middleware

from service.http.error_handlers import handle_errors
from service.http.middleware.request_context import RequestContext
from service.http.stack import LayeredFastAPI
from service.observability.metrics import Metrics


def application() -> LayeredFastAPI:
    app = LayeredFastAPI(openapi_url=None)

    @app.get("/works")
    async def works() -> dict[str, bool]:
        return {"works": True}

    @app.get("/fails")
    async def fails() -> None:
        raise RuntimeError("a secret detail")

    @app.get("/fails-late")
    async def fails_late() -> StreamingResponse:
        async def body() -> Any:
            yield b"a beginning"
            raise RuntimeError("a secret detail")

        return StreamingResponse(body())

    handle_errors(app)
    app.add_layers([Middleware(RequestContext, metrics=Metrics(), log_requests=False)])
    return app


def ask(path: str) -> httpx.Response:
    async def get() -> httpx.Response:
        transport = httpx.ASGITransport(application())  # it raises what the application raises
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get(path, headers={"X-Request-ID": "mine"})

    return asyncio.run(get())


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [("/works", 200, None), ("/nothing", 404, "unknown_path"), ("/fails", 500, "internal_error")],
)
def test_each_response_has_the_request_id_and_no_detail(
    path: str, status: int, code: str | None
) -> None:
    response = ask(path)
    assert response.status_code == status
    assert response.headers["x-request-id"] == "mine"
    assert response.headers["content-type"] == "application/json"
    if code is not None:
        error = response.json()["error"]
        assert (error["code"], error["request_id"]) == (code, "mine")
    assert "secret" not in response.text


def test_a_response_that_fails_after_its_start_is_broken_off() -> None:
    with pytest.raises(RuntimeError, match="a secret detail"):
        ask("/fails-late")
