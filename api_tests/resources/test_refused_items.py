"""Changes of items that are refused, and one that does not fit the bundle."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundle.catalogue.overlay import ItemChange
from bundle.events.records import pack_change
from service.schemas.errors import ErrorBody
from tests.support.data.item_changes import random_features
from tests.support.reference.reference_model import Replicas
from tests.support.running.service_fixtures import StartService


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ({}, "features", "are required for a new item"),
        ({"columns": {"title": "x"}}, "features", "are required for a new item"),
        ({"features": {}}, "features", "at least 1"),
        ({"features": {"sound": [1.0]}}, "features", "sound: no such modality"),
        ({"features": {"text": [1.0] * 3}}, "features", "text: has 3 numbers, expected 4"),
        ({"features": {"text": []}}, "features", "text: has 0 numbers, expected 4"),
        ({"features": {"text": [float("nan")] * 4}}, "features.text.0", "finite"),
        ({"features": {"text": [1, 2, 3, float("inf")]}}, "features.text.3", "finite"),
        ({"features": {"text": [1, 2, 3, 1e39]}}, "features.text.3", "at most"),
        ({"features": {"text": [1, 2, 3, "a"]}}, "features.text.3", "number"),
        ({"features": {"text": [1, 2, 3, None]}}, "features.text.3", "number"),
        ({"features": {"text": 5}}, "features.text", "list"),
        ({"features": [1.0]}, "features", "dictionary"),
        ({"features": {"text": [1] * 4}, "columns": {"colour": 1}}, "columns", "colour: no such"),
        ({"features": {"text": [1] * 4}, "columns": {"item_id": "x"}}, "columns", "item_id: no"),
        ({"features": {"text": [1] * 4}, "columns": {"price": "x"}}, "columns", "price: 'x' "),
        ({"features": {"text": [1] * 4}, "columns": {"price": float("nan")}}, "columns", "price"),
        ({"features": {"text": [1] * 4}, "columns": {"stock": 10**30}}, "columns", "stock: 1"),
        ({"features": {"text": [1] * 4}, "columns": {"title": "\ud800"}}, "columns", "title: "),
        ({"features": {"text": [1] * 4}, "columns": {"\ud800": 1}}, "columns", "no such"),
        ({"features": {"text": [1] * 4}, "columns": {"tags": "red"}}, "columns", "tags: 'r"),
        ({"features": {"text": [1] * 4}, "columns": 5}, "columns", "dictionary"),
        ({"features": {"text": [1] * 4}, "item_id": "other"}, "item_id", "is not a parameter"),
    ],
)
def test_changes_that_do_not_fit_are_refused(
    replicas: Replicas, body: dict[str, Any], field: str, message: str
) -> None:
    for method, path, sent, place in (
        ("PUT", "/items/refused", body, ""),
        ("POST", "/items", {"items": [{"item_id": "refused", **body}]}, "items.0."),
    ):
        if method == "POST" and "item_id" in body:
            continue
        response = replicas.request(
            method,
            path,
            content=json.dumps(sent),
            headers={"Content-Type": "application/json"},
        )
        assert response.status_code == 422, response.text
        error = ErrorBody.model_validate_json(response.content).error
        assert error.code == "invalid_parameter"
        assert (error.field or "").startswith(place + field), error
        assert message in error.message
        assert len(error.message) < 300
    assert replicas.request("GET", "/items/refused").status_code == 404


@pytest.mark.parametrize("path", ["/items/", "/items/" + "x" * 257, "/items/%FF"])
def test_ids_that_no_item_can_have(replicas: Replicas, path: str) -> None:
    for method, body in (
        ("PUT", {"features": random_features(0)}),
        ("DELETE", None),
        ("GET", None),
    ):
        response = replicas.request(method, path, json=body)
        assert (response.status_code, response.json()["error"]["field"]) == (422, "item_id")
    for item_id in ("", "x" * 257):
        sent = {"items": [{"item_id": item_id, "features": random_features(0)}]}
        response = replicas.request("POST", "/items", json=sent)
        assert response.json()["error"]["field"] == "items.0.item_id"


@pytest.mark.slow
def test_a_change_that_does_not_fit_the_bundle_is_counted_and_the_others_served(
    start: StartService, tmp_path: Path
) -> None:
    service = start(state=tmp_path / "state", state_poll=0.02)
    odd = pack_change(ItemChange("odd", features={"sound": np.ones(3, np.float32)}))
    with closing(sqlite3.connect(tmp_path / "state")) as connection, connection:
        newest = "(SELECT 1 + coalesce(max(number), 0) FROM notes)"
        insert = f"INSERT INTO notes SELECT 'item', ?, {newest}, ?"
        connection.executemany(insert, [("odd", odd), ("", odd)])
    service.client.put("/items/later", json={"features": random_features(1)})
    assert service.get("/items/later").json()["state"] == "new"
    assert service.get("/items/odd").status_code == 404
    assert service.metric("items_live", change="unfit") == 1
    assert service.metric("state_failures_total", operation="change") == 1
    [event] = service.events("item_does_not_fit")
    assert (event["item_id"], event["error"][:6]) == ("odd", "sound:")
