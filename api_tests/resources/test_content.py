"""New items from texts and pictures, by the content encoders that are configured."""

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from service.schemas.items import MAX_CONTENTS
from tests.support.data.content_encoders import WORDS, colour_encoder, word_encoder, word_vectors
from tests.support.running.processes import run_service
from tests.support.running.servers import RunningService
from tests.support.waiting import wait_until


def picture(colour: str = "red", size: tuple[int, int] = (40, 40)) -> str:
    file = io.BytesIO()
    Image.new("P" if size[0] > 40 else "RGB", size, colour).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("encoders")
    made = {"text": word_encoder(folder / "text", 4), "image": colour_encoder(folder / "image")}
    return {name: str(path) for name, path in made.items()}


@pytest.fixture(scope="module")
def both(
    shop_store: Path, encoders: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[RunningService, RunningService]]:
    """A service with content encoders and one without, with one state."""
    directory = tmp_path_factory.mktemp("content")
    options: dict[str, Any] = {"state": directory / "state", "state_poll": 0.02}
    able = RunningService(
        shop_store, directory / "1.log", content_encoders=json.dumps(encoders), **options
    )
    other = RunningService(shop_store, directory / "2.log", **options)
    yield able, other
    able.close()
    other.close()


def similar(service: RunningService, item_id: str) -> Any:
    found = service.get(f"/similar/{item_id}", k=50)
    return [(item["item_id"], item["score"]) for item in found.json().get("items", [])]


@pytest.mark.slow
def test_content_and_its_features_make_the_same_item(
    both: tuple[RunningService, RunningService],
) -> None:
    able, other = both
    assert able.get("/info").json()["content"] == {"text": "text", "image": "image"}
    assert other.get("/info").json()["content"] == {}
    table = word_vectors(4)
    text = table[[WORDS["red"], WORDS["mug"]]].mean(0).tolist()
    image = [1, 0, 0, 2, 0, 0]
    for name, content, features in (
        ("words", {"text": "red mug"}, {"text": text}),
        ("colours", {"image": picture()}, {"image": image}),
        ("all", {"text": "red mug", "image": picture()}, {"text": text, "image": image}),
    ):
        made = able.client.put(f"/items/{name}", json={"content": content, "columns": {}})
        assert made.status_code == 200, made.text
        assert made.json()["has_vector"]
        able.client.put(f"/items/{name}-twin", json={"features": features, "columns": {}})
        wait_until(lambda name=name: similar(other, f"{name}-twin"), "the other replica")
        for service in both:
            nearest, cosine = similar(service, name)[0]
            assert (nearest, cosine) == (f"{name}-twin", pytest.approx(1, abs=1e-5))
    # Some from content, some from features; and many at once.
    body = {"items": [{"item_id": "x", "content": {"text": "blue"}, "features": {"image": image}}]}
    assert able.post("/items", json=body).json() == {"stored": 1}
    able.client.put("/items/y", json={"features": {"text": table[2].tolist(), "image": image}})
    assert similar(able, "x")[0][0] == "y"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ({"content": {"image": "no base64!"}}, "content.image", "is not base64"),
        ({"content": {"image": "aGVsbG8="}}, "content.image", "not a picture"),
        ({"content": {"image": picture()[:80]}}, "content.image", ""),
        (
            {"content": {"image": picture(size=(6400, 6400))}},
            "content.image",
            "6400 × 6400 pixels are too many: decoding this PNG takes 391 MiB of memory",
        ),
        ({"content": {"image": "é"}}, "content.image", "is not base64"),
        (
            {"content": {"sound": "la"}},
            "content.sound",
            "no encoder is configured for it, only for text, image",
        ),
        ({"content": {"text": "\ud800"}}, "content.text", "valid string"),
        ({"content": {"text": ""}}, "content.text", "must not be empty"),
        ({"content": {}}, "content", "at least 1"),
        ({"content": "red mug"}, "content", "dictionary"),
        ({"content": {"text": 5}}, "content.text", "string"),
        ({"content": {"text": "red"}, "features": {"text": [1] * 4}}, "content.text", "features"),
    ],
)
def test_content_that_cannot_be_used_is_refused(
    both: tuple[RunningService, RunningService], body: dict[str, Any], field: str, message: str
) -> None:
    headers = {"Content-Type": "application/json"}
    for method, path, sent, place in (
        ("PUT", "/items/refused", body, ""),
        ("POST", "/items", {"items": [{"item_id": "refused", **body}]}, "items.0."),
    ):
        response = both[0].client.request(method, path, content=json.dumps(sent), headers=headers)
        assert response.status_code == 422, response.text
        error = response.json()["error"]
        assert error["field"] == place + field, error
        assert message in error["message"]
    assert both[0].get("/items/refused").status_code == 404


def test_without_encoders_and_with_too_much_content(
    both: tuple[RunningService, RunningService],
) -> None:
    able, other = both
    answer = other.client.put("/items/refused", json={"content": {"text": "red"}})
    error = answer.json()["error"]
    assert (answer.status_code, error["field"]) == (422, "content")
    assert error["message"] == "content: no content encoders are configured"
    items = [{"item_id": f"n-{n}", "content": {"text": "mug"}} for n in range(MAX_CONTENTS + 1)]
    answer = able.post("/items", json={"items": items})
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, "items.0.content")
    assert able.post("/items", json={"items": items[1:]}).json() == {"stored": MAX_CONTENTS}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("width", "content encoder text: makes 3 features, the bundle has 4"),
        ("modality", "content encoder sound: the bundle has no such modality, only image, text"),
        ("folder", "encoder.json: cannot be read"),
    ],
)
def test_encoders_that_do_not_fit_are_refused_at_the_start(
    shop_store: Path, encoders: dict[str, str], tmp_path: Path, wrong: str, reason: str
) -> None:
    folders = {
        "width": {"text": str(word_encoder(tmp_path / "narrow", 3))},
        "modality": {"sound": encoders["text"]},
        "folder": {"text": str(tmp_path)},
    }[wrong]
    options = ["--store", str(shop_store), "--port", "0", "--content-encoders", json.dumps(folders)]
    code, output = run_service(*options)
    assert code == 2
    assert reason in output
    assert "Traceback" not in output
