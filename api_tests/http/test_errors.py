"""The shape of all errors, wrong methods, and request ids."""

import re

import pytest

from service.schemas.errors import ErrorBody
from tests.support.running.servers import RunningService


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "status", "code", "field"),
    [
        ("/recommend/user-1?k=0", 422, "invalid_parameter", "k"),
        ("/recommend/user-1?k=501", 422, "invalid_parameter", "k"),
        ("/recommend/user-1?k=-1", 422, "invalid_parameter", "k"),
        ("/recommend/user-1?k=ten", 422, "invalid_parameter", "k"),
        ("/recommend/user-1?k=1.5", 422, "invalid_parameter", "k"),
        ("/recommend/user-1?k=", 422, "invalid_parameter", "k"),
        ("/recommend/user-1?k=" + "9" * 5000, 422, "invalid_parameter", "k"),
        ("/recommend/user-1?exclude_seen=perhaps", 422, "invalid_parameter", "exclude_seen"),
        ("/recommend/user-1?K=5", 422, "invalid_parameter", "K"),
        (
            "/recommend/user-1?" + "&".join(f"x{n}=1" for n in range(151)),
            422,
            "invalid_parameter",
            None,
        ),
        ("/recommend/", 422, "invalid_parameter", "user_id"),
        ("/recommend/" + "x" * 257, 422, "invalid_parameter", "user_id"),
        ("/recommend/" + "x" * 20_000, 422, "invalid_parameter", "user_id"),
        ("/recommend/%FF%FE", 422, "invalid_parameter", "user_id"),
        ("/similar/", 422, "invalid_parameter", "item_id"),
        ("/recommend/user-1?diversity=1.5", 422, "invalid_parameter", "diversity"),
        ("/recommend/user-1?diversity=nan", 422, "invalid_parameter", "diversity"),
        ("/recommend/user-1?" + "&".join(["exclude=a"] * 101), 422, "invalid_parameter", "exclude"),
        ("/similar/item-1?k=0", 422, "invalid_parameter", "k"),
        ("/similar/item-1?by=taste", 422, "invalid_parameter", "by"),
        ("/similar/item-1?by=popularity", 422, "invalid_parameter", "by"),
        ("/items/no-such-item", 404, "unknown_item", "item_id"),
        ("/items/item-1?k=3", 422, "invalid_parameter", "k"),
        ("/similar/no-such-item", 404, "unknown_item", "item_id"),
        ("/recommend", 405, "method_not_allowed", None),
        ("/similar", 404, "unknown_path", None),
        ("/", 404, "unknown_path", None),
        ("/info/more", 404, "unknown_path", None),
    ],
)
def test_every_error_has_one_shape(
    service: RunningService, path: str, status: int, code: str, field: str | None
) -> None:
    response = service.get(path)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    error = ErrorBody.model_validate_json(response.content).error
    assert (error.code, error.field) == (code, field)
    assert error.request_id == response.headers["x-request-id"]
    assert len(error.message) < 200
    if field is not None:
        assert error.message.startswith(f"{field}: ")


@pytest.mark.parametrize("path", ["/recommend/user-1", "/similar/item-1", "/info"])
@pytest.mark.parametrize("method", ["POST", "DELETE", "TRACE"])
def test_wrong_methods(service: RunningService, path: str, method: str) -> None:
    response = service.client.request(method, path)
    assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD")
    assert response.json()["error"]["code"] == "method_not_allowed"


def test_a_replacement_character_is_an_id_like_any_other(service: RunningService) -> None:
    response = service.get("/recommend/%EF%BF%BD")
    assert (response.status_code, response.json()["user_id"]) == (200, "\ufffd")


def test_request_ids_are_taken_if_sane_and_made_otherwise(service: RunningService) -> None:
    def returned(sent: str) -> str:
        response = service.client.get("/healthz", headers={"X-Request-ID": sent})
        return str(response.headers["x-request-id"])

    assert returned("abc-123.DEF:4") == "abc-123.DEF:4"
    for bad in ("", "with space", "x" * 129, "<script>", 'a"b'):
        assert re.fullmatch(r"[0-9a-f]{16}", returned(bad))
    assert returned("") != returned("")
