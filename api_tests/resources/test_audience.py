"""`/audience` and `/preview`: for whom an item is, as their recommendations say it."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundle.format.writer import BundleContents
from bundle.store.store import BundleStore
from tests.support.data.bundles import make_contents
from tests.support.data.content_encoders import colour_encoder, word_encoder
from tests.support.data.item_changes import random_features
from tests.support.running.api_keys import authorization, entries
from tests.support.running.servers import RunningService
from tests.support.running.service_fixtures import Published, StartService

ALL = 300
"""Items of the bundle: so long is a list in which every item is."""


@pytest.fixture
def alone(start: StartService, tmp_path: Path) -> RunningService:
    """A service with a state of its own."""
    return start(state=tmp_path / "state.sqlite3")


def audience(service: RunningService, item_id: str, k: int = 10) -> list[dict[str, Any]]:
    answer = service.get(f"/audience/{item_id}", k=k)
    assert answer.status_code == 200, answer.text
    users: list[dict[str, Any]] = answer.json()["users"]
    return users


def place(service: RunningService, user_id: str, item_id: str) -> dict[str, Any]:
    """The item in the list of a user."""
    items = service.post("/recommend", json={"users": [user_id], "k": ALL}).json()["results"][0]
    [found] = [item for item in items["items"] if item["item_id"] == item_id]
    return dict(found)


def test_users_are_those_in_whose_lists_it_stands_highest(
    service: RunningService, published: Published
) -> None:
    found = audience(service, "item-200", 25)
    assert [user["rank"] for user in found] == sorted(user["rank"] for user in found)
    assert len({user["user_id"] for user in found}) == 25
    for user in found:
        expected = place(service, user["user_id"], "item-200")
        assert user["rank"] == expected["rank"]
        assert user["score"] == pytest.approx(expected["score"], abs=1e-5)
    row = published.item_row("item-200")
    ranks = {
        user: int((np.delete(published.scores(user), seen) > published.scores(user)[row]).sum())
        for user in published.known
        if row not in (seen := published.contents.seen.row(published.user_row(user)))
    }
    assert found[0]["rank"] == min(ranks.values()) + 1


def test_newer_events_and_erasures_count(alone: RunningService) -> None:
    first, second, *_ = audience(alone, "item-200")
    event = {"user_id": first["user_id"], "item_id": "item-200"}
    assert alone.post("/events", json={"events": [event]}).status_code == 202
    assert first["user_id"] not in [user["user_id"] for user in audience(alone, "item-200")]
    assert alone.client.delete(f"/users/{second['user_id']}").status_code == 204
    left = [user["user_id"] for user in audience(alone, "item-200", 100)]
    assert not {first["user_id"], second["user_id"]} & set(left)
    # What is looked up for an audience is no traffic.
    assert alone.metric("vector_lookups_total") == 0


def test_a_preview_is_what_comes_true(alone: RunningService) -> None:
    features = random_features(5)
    answer = alone.post("/preview", json={"features": features, "k": 20})
    assert answer.status_code == 200, answer.text
    preview = answer.json()
    assert alone.get("/items/draft").status_code == 404
    assert alone.client.put("/items/draft", json={"features": features}).status_code == 200
    similar = alone.get("/similar/draft", k=20).json()["items"]
    for one, other in zip(preview["similar"], similar, strict=True):
        assert one["item_id"] == other["item_id"]
        assert one["title"] == other["title"]
        assert one["score"] == pytest.approx(other["score"], abs=1e-5)
    assert [(user["user_id"], user["rank"]) for user in preview["audience"]] == [
        (user["user_id"], user["rank"]) for user in audience(alone, "draft", 20)
    ]
    user = preview["audience"][0]
    assert place(alone, user["user_id"], "draft")["rank"] == user["rank"]


def contents() -> BundleContents:
    return make_contents(60, 50, 8, rng=np.random.default_rng(0))


def test_a_preview_of_contents(start: StartService, tmp_path: Path) -> None:
    BundleStore(tmp_path / "store").publish(contents())
    encoders = {
        "text": word_encoder(tmp_path / "text", 4),
        "image": colour_encoder(tmp_path / "image"),
    }
    named = "{" + ",".join(f'"{name}":"{folder}"' for name, folder in encoders.items()) + "}"
    service = start(store=tmp_path / "store", content_encoders=named)
    answer = service.post("/preview", json={"content": {"text": "red mug"}, "k": 3})
    assert answer.status_code == 200, answer.text
    assert [len(answer.json()[name]) for name in ("similar", "audience")] == [3, 3]
    broken = {"image": base64.b64encode(b"no picture").decode()}
    refused = service.post("/preview", json={"content": broken})
    assert (refused.status_code, refused.json()["error"]["field"]) == (422, "content.image")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "features"),
        ({"features": {"smell": [1.0]}}, "features"),
        ({"features": {"image": [1.0]}}, "features"),
        ({"content": {"text": "x"}}, "content"),
        ({"features": random_features(1), "k": 101}, "k"),
        ({"features": random_features(1), "columns": {}}, "columns"),
    ],
)
def test_previews_that_are_refused(
    service: RunningService, body: dict[str, Any], field: str
) -> None:
    refused = service.post("/preview", json=body)
    assert (refused.status_code, refused.json()["error"]["field"]) == (422, field)


def test_requests_that_are_refused(service: RunningService) -> None:
    assert service.get("/audience/unknown").json()["error"]["code"] == "unknown_item"
    for query in ({"k": 0}, {"k": 101}, {"users": 3}):
        assert service.get("/audience/item-1", **query).status_code == 422


def test_an_item_without_a_vector_is_for_nobody(start: StartService, tmp_path: Path) -> None:
    made = contents()
    made.item_vectors[7] = 0
    BundleStore(tmp_path / "store").publish(made)
    assert audience(start(store=tmp_path / "store"), "item-7") == []


@pytest.mark.slow
def test_ids_of_users_are_for_administrators(start: StartService, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text(entries("reader", "writer", "admin"))
    service = start(keys=keys)
    body = {"features": random_features(1)}
    for name, status in (("reader", 403), ("writer", 403), ("admin", 200)):
        headers = authorization(name)
        assert service.client.get("/audience/item-1", headers=headers).status_code == status
        assert service.post("/preview", json=body, headers=headers).status_code == status
