"""A reference model of the service in plain NumPy: its state, and the answers that follow."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import onnx
from onnx import numpy_helper

from bundle.format.writer import BundleContents
from bundle.types import Vector
from tests.support.data.item_changes import FILTERS, KnownItem
from tests.support.running.servers import RunningService
from tests.support.waiting import wait_until

COLUMNS = ["title", "category", "price", "stock", "new", "tags"]
DISLIKE = -0.5
"""Weight of an event of type `dislike`."""


@dataclass
class ReferenceModel:
    """Items, events and erased users of a service, beginning with a bundle."""

    contents: BundleContents
    version: str
    items: dict[str, KnownItem] = field(default_factory=dict)
    trained: dict[str, KnownItem] = field(default_factory=dict)
    events: dict[str, list[tuple[str, float]]] = field(default_factory=dict)
    erased: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        contents = self.contents
        popularity = contents.seen.column_counts()
        for row, columns in enumerate(contents.item_table.to_pylist()):
            vector = contents.item_vectors[row]
            known = KnownItem(vector, columns, int(popularity[row]), contents.item_parts[row])
            self.trained[columns.pop("item_id")] = known
        self.items = dict(self.trained)
        weights = onnx.load_from_string(contents.item_encoder).graph.initializer
        self._weights = {array.name: numpy_helper.to_array(array) for array in weights}

    # Requests that change the state.

    def put(self, item_id: str, features: dict[str, Any] | None, columns: Any = None) -> None:
        known = self.trained.get(item_id)
        shown = known.columns if known else dict.fromkeys(COLUMNS)
        if columns is not None:
            shown = {**dict.fromkeys(COLUMNS), **columns}
        if features is None:
            assert known is not None
            self.items[item_id] = KnownItem(known.vector, shown, known.interactions, known.parts)
            return
        projected = [
            np.array(values, np.float32) @ self._weights[f"{name}.weight"]
            for name, values in features.items()
        ]
        vector = np.sum(projected, axis=0).astype(np.float32)
        self.items[item_id] = KnownItem(vector, shown, known.interactions if known else 0, None)

    def delete(self, item_id: str) -> None:
        del self.items[item_id]

    def add_event(self, user_id: str, item_id: str, weight: float) -> None:
        self.events.setdefault(user_id, []).append((item_id, weight))

    def erase(self, user_id: str) -> None:
        self.erased.add(user_id)
        self.events[user_id] = []

    # Answers.

    def seen(self, user_id: str) -> list[str]:
        row = None if user_id in self.erased else self.contents.users.get(user_id)
        if row is None:
            return []
        return [self.contents.items[i] for i in self.contents.seen.row(row).tolist()]

    def user_vector(self, user_id: str) -> tuple[Vector | None, str, set[str]]:
        """The user's vector, if there is one, `source`, and the items that `exclude_seen` drops."""
        events = self.events.get(user_id, [])
        seen = self.seen(user_id)
        row = None if user_id in self.erased else self.contents.users.get(user_id)
        if not events:
            if row is None or not self.contents.user_vectors[row].any():
                return None, "popular", set(seen)
            return self.contents.user_vectors[row], "known_user", set(seen)
        before = dict.fromkeys(seen, 1.0)
        weights = before | dict(events[-500:])
        known = {i: w for i, w in weights.items() if i in self.items or i in self.trained}
        if row is not None and known == before:  # nothing that the bundle does not have
            vector = self.contents.user_vectors[row]
            return (vector, "known_user", set(seen)) if vector.any() else (None, "popular", set())
        vector = self.session(weights)
        return vector, "popular" if vector is None else "folded_in", set(weights)

    def session(self, weights: dict[str, float]) -> Vector | None:
        """The encoder's vector of items and weights; deleted items of the bundle still count."""
        known = [
            (found.vector, weight)
            for item_id, weight in weights.items()
            if (found := self.items.get(item_id) or self.trained.get(item_id)) is not None
        ]
        if not any(weight > 0 and vector.any() for vector, weight in known):
            return None
        total = np.sum([v.astype(np.float64) * np.float32(weight) for v, weight in known], axis=0)
        divisor = max(sum(weight for _, weight in known), 1e-9)
        vector = (total / divisor).astype(np.float32)
        return vector if vector.any() else None

    def scores(
        self, vector: Vector | None, without: set[str], text: str | None
    ) -> dict[str, float]:
        """Scores of all items that may be recommended; their popularity without a vector."""
        return {
            item_id: float(known.interactions if vector is None else known.vector @ vector)
            for item_id, known in self.items.items()
            if item_id not in without and (text is None or FILTERS[text](known.columns))
        }

    def check_user(
        self,
        answer: dict[str, Any],
        k: int = 20,
        text: str | None = None,
        exclude: Sequence[str] = (),
        exclude_seen: bool = True,
    ) -> None:
        """Check an answer of `/recommend`."""
        user_id = answer["user_id"]
        vector, source, seen = self.user_vector(user_id)
        assert (answer["source"], answer["bundle_version"]) == (source, self.version)
        assert (answer["fallback_reason"] is None) == (source != "popular")
        without = {*exclude, *(seen if exclude_seen else ())}
        self.check(answer["items"], self.scores(vector, without, text), k)

    def check(self, items: list[dict[str, Any]], scores: dict[str, float], k: int) -> None:
        """Check that items are the best k; those with equal scores may come in any order."""
        ids = [item["item_id"] for item in items]
        assert len(ids) == len(set(ids)) == min(k, len(scores))
        assert not set(ids) - set(scores), "an item that must not be recommended"
        expected = sorted(scores.values(), reverse=True)[:k]
        # A fold-in whose weights add up to nothing has scores as large as 1e9.
        largest = max(map(abs, scores.values()), default=1.0)
        atol = 1e-5 * max(largest, 1.0)
        given = [item["score"] for item in items]
        np.testing.assert_allclose(given, expected, 1e-5, atol)
        np.testing.assert_allclose(given, [scores[i] for i in ids], 1e-5, atol)
        assert [item["rank"] for item in items] == list(range(1, len(ids) + 1))

    def cosines(self, item_id: str, text: str | None = None, by: str = "fused") -> dict[str, float]:
        """Cosines of an item with all others, as `/similar` compares them."""
        names = ["fused", *(part.name for part in self.contents.parts)]
        columns = slice(None)
        if by != "fused":
            part = self.contents.parts[names.index(by) - 1]
            columns = slice(part.start, part.stop)
        mine = self._compared(item_id, by, columns)
        if mine is None or not mine.any():
            return {}
        found: dict[str, float] = {}
        for other, known in self.items.items():
            its = self._compared(other, by, columns)
            if other == item_id or its is None or not its.any():
                continue
            if text is None or FILTERS[text](known.columns):
                found[other] = float(mine @ its) / math.sqrt(float(mine @ mine) * float(its @ its))
        return found

    def _compared(self, item_id: str, by: str, columns: slice) -> Vector | None:
        known = self.items[item_id]
        if by == "fused":
            return known.vector.astype(np.float64)
        return None if known.parts is None else known.parts[columns].astype(np.float64)


@dataclass
class Replicas:
    """Two services with one state, which get requests in turn, and the reference model of both."""

    services: list[RunningService]
    reference: ReferenceModel
    _turn: int = 0

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """A request to the next replica."""
        self._turn += 1
        service = self.services[self._turn % len(self.services)]
        return service.client.request(method, path, **options)

    def get(self, path: str, **params: Any) -> Any:
        """The JSON of an answer, whose status must be 200."""
        response = self.request("GET", path, params=params or None)
        assert response.status_code == 200, response.text
        return response.json()

    def post_events(self, *events: dict[str, Any]) -> dict[str, Any]:
        response = self.request("POST", "/events", json={"events": events})
        assert response.status_code == 202, response.text
        found: dict[str, Any] = response.json()
        return found

    def add_event(self, user_id: str, item_id: str, kind: str = "view", weight: Any = None) -> None:
        """Send an event, also to the reference model."""
        given = {} if weight is None else {"weight": weight}
        self.post_events({"user_id": user_id, "item_id": item_id, "type": kind, **given})
        usual = DISLIKE if kind == "dislike" else 1.0
        self.reference.add_event(user_id, item_id, usual if weight is None else weight)

    def put(self, item_id: str, features: Any = None, columns: Any = None) -> dict[str, Any]:
        """Change an item, also in the reference model, and wait until both replicas serve that."""
        body = {"features": features, "columns": columns}
        body = {name: value for name, value in body.items() if value is not None}
        response = self.request("PUT", f"/items/{quote(item_id, safe='')}", json=body)
        assert response.status_code == 200, response.text
        self.reference.put(item_id, features, columns)
        self.agree_on(item_id)
        found: dict[str, Any] = response.json()
        return found

    def delete(self, item_id: str) -> None:
        response = self.request("DELETE", f"/items/{quote(item_id, safe='')}")
        assert response.status_code == 204, response.text
        self.reference.delete(item_id)
        self.agree_on(item_id)

    def agree_on(self, item_id: str) -> None:
        """Wait until all replicas serve the last change of an item."""
        name = quote(item_id, safe="")
        known = self.reference.items.get(item_id)

        def agreed() -> bool:
            answers = [
                [service.get(path) for path in (f"/items/{name}", f"/similar/{name}?k=3")]
                for service in self.services
            ]
            if known is None:
                return all(answer.status_code == 404 for both in answers for answer in both)
            # The replica that changed it is right; the similar items stand for its vector.
            wanted = answers[self._turn % len(answers)]
            return all([a.json() for a in both] == [w.json() for w in wanted] for both in answers)

        wait_until(agreed, f"one answer of all replicas for {item_id!r}")

    def recommend(self, user_id: str, **params: Any) -> dict[str, Any]:
        """An answer, checked by the reference model."""
        answer = self.get(f"/recommend/{quote(user_id, safe='')}", **params)
        self.reference.check_user(
            answer,
            params.get("k", 20),
            params.get("filter"),
            params.get("exclude", ()),
            params.get("exclude_seen", True),
        )
        found: dict[str, Any] = answer
        return found
