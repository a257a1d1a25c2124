"""Parameters in queries: spelled in one way, given once, known; and the length of ids anywhere."""

from typing import Any

import pytest

from tests.support.running.servers import RunningService
from tests.support.running.service_fixtures import StartService

LONG = 3000


def refused(service: RunningService, path: str) -> tuple[str | None, str]:
    """Field and message of a 422."""
    response = service.get(path)
    assert response.status_code == 422, response.text
    error = response.json()["error"]
    assert error["code"] == "invalid_parameter"
    return error["field"], error["message"]


@pytest.mark.parametrize(
    "value",
    [
        "1.0",
        "%2B5",
        "01",
        "1_0",
        "%205",
        "5%20",
        "5%0A",
        "1e1",
        "0x5",
        "５",
        "٥",
        "5,6",
        "Infinity",
        "5.",
        "1e0",
    ],
)
def test_whole_numbers_have_one_spelling(service: RunningService, value: str) -> None:
    for path in ("/recommend/user-1", "/similar/item-1"):
        field, message = refused(service, f"{path}?k={value}")
        assert field == "k"
        assert message.startswith("k: must be a whole number")


@pytest.mark.parametrize(
    "value", ["%2B0.5", ".5", "0.", "00.5", "0_1", "%200.5", "0.5%0A", "0,5", "nan", "inf", "", "٠"]
)
def test_numbers_are_spelled_as_in_json(service: RunningService, value: str) -> None:
    field, message = refused(service, f"/recommend/user-1?diversity={value}")
    assert field == "diversity"
    assert message.startswith("diversity: must be a number")
    for taken in ("0", "0.5", "1", "1.0", "5e-1", "0.05E1"):
        assert service.get(f"/recommend/user-1?k=1&diversity={taken}").status_code == 200


def test_truth_values(service: RunningService) -> None:
    for value in ("yes", "no", "on", "off", "t", "f", "y", "n", "", "2", "%20true", "01", "null"):
        for name in ("explain", "exclude_seen"):
            field, message = refused(service, f"/recommend/user-1?{name}={value}")
            assert field == name
            assert message.startswith(f"{name}: must be true or false")
    for value, explained in (
        *((value, True) for value in ("true", "True", "TRUE", "1")),
        *((value, False) for value in ("false", "False", "0")),
    ):
        [item] = service.get(f"/recommend/user-1?k=1&explain={value}").json()["items"]
        assert ("parts" in item) == explained


@pytest.mark.parametrize(
    "query",
    [
        *("k=3&k=5", "k=3&k=3", "%6B=3&k=5", "filter=x&filter=x", "diversity=0&diversity=1"),
        *("explain=true&explain=false", "weights=&weights=", "cursor=new&cursor=new"),
    ],
)
def test_repeated_parameters_are_refused(service: RunningService, query: str) -> None:
    name = "k" if "k=" in query else query.partition("=")[0]
    field, message = refused(service, f"/recommend/user-1?{query}")
    assert (field, message) == (name, f"{name}: is given more than once")


def test_lists_are_repeated_parameters(service: RunningService) -> None:
    best = [i["item_id"] for i in service.get("/recommend/user-1?k=5").json()["items"]]
    answer = service.get(f"/recommend/user-1?k=5&exclude={best[0]}&k=5".replace("&k=5", "", 1))
    assert best[0] not in answer.text
    answer = service.get(f"/recommend/user-1?k=5&exclude={best[0]}&exclude={best[1]}")
    assert not {best[0], best[1]} & {item["item_id"] for item in answer.json()["items"]}


def test_a_query_that_is_not_utf_8_is_refused(service: RunningService) -> None:
    for query in ("exclude=%FF", "filter=%C3", "%FF=1"):
        assert (
            refused(service, f"/recommend/user-1?{query}")[1] == "the query string cannot be read"
        )


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/recommend/user-1", None),
        ("GET", "/similar/item-1", None),
        ("GET", "/items/item-1", None),
        ("GET", "/users/user-1", None),
        ("GET", "/info", None),
        ("POST", "/recommend", {"users": ["user-1"]}),
        ("POST", "/recommend/items", {"items": [{"item_id": "item-1"}]}),
        ("POST", "/events", {"events": [{"user_id": "u", "item_id": "i"}]}),
        ("POST", "/items", {"items": [{"item_id": "item-1"}]}),
        ("PUT", "/items/item-1", {}),
        ("DELETE", "/items/item-1", None),
        ("DELETE", "/users/user-1", None),
        ("POST", "/admin/reload", None),
    ],
)
def test_unknown_parameters_are_named(
    service: RunningService, method: str, path: str, body: Any
) -> None:
    for name in ("K", "limit", "exlude"):
        response = service.client.request(method, f"{path}?{name}=5", json=body)
        assert response.status_code == 422, response.text
        error = response.json()["error"]
        assert error["field"] == name
        assert error["message"] == f"{name}: is not a parameter of this endpoint"


def test_probes_may_have_any_parameters(service: RunningService) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        assert service.get(f"{path}?nocache=1&nocache=2").status_code == 200


@pytest.mark.slow
def test_ids_have_one_maximum_length_everywhere(start: StartService) -> None:
    service = start(max_id_length=LONG)
    features = {"image": [0.1] * 8}

    def statuses(identifier: str) -> dict[str, tuple[int, str | None]]:
        event = {"user_id": "u", "item_id": "i"}
        requests: dict[str, tuple[str, str, Any]] = {
            "user_id": ("GET", f"/recommend/{identifier}", None),
            "item_id": ("DELETE", f"/items/{identifier}", None),
            "exclude.1": ("GET", f"/recommend/user-1?exclude=i&exclude={identifier}", None),
            "exclude.0": ("POST", "/recommend", {"users": ["u"], "exclude": [identifier]}),
            "items.0.item_id": ("POST", "/recommend/items", {"items": [{"item_id": identifier}]}),
            "disliked.0": (
                "POST",
                "/recommend/items",
                {"items": [{"item_id": "i"}], "disliked": [identifier]},
            ),
            "events.0.user_id": ("POST", "/events", {"events": [event | {"user_id": identifier}]}),
            "events.0.item_id": ("POST", "/events", {"events": [event | {"item_id": identifier}]}),
            "items.1.item_id": (
                "POST",
                "/items",
                {"items": [{"item_id": "item-1"}, {"item_id": identifier, "features": features}]},
            ),
        }
        found = {}
        for field, (method, path, body) in requests.items():
            response = service.client.request(method, path, json=body)
            error = response.json()["error"] if response.is_error else {"field": None}
            found[field] = (response.status_code, error["field"])
        return found

    longest = statuses("x" * LONG)
    assert not [field for field, (_, wrong) in longest.items() if wrong == field and _ == 422]
    for identifier in ("x" * (LONG + 1), "x" * (2 * LONG)):
        assert statuses(identifier) == {field: (422, field) for field in longest}
    batch = service.post("/recommend", json={"users": ["x" * LONG, "x" * (LONG + 1)], "k": 1})
    known, unknown = batch.json()["results"]
    assert len(known["items"]) == 1
    assert unknown["error"]["message"] == f"user_id: has more than {LONG} characters"
