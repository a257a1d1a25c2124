"""The service as plain NumPy: what has happened to it, and what it has to answer."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import onnx
from changed_items import FILTERS, Known, Vector
from onnx import numpy_helper
from servers import RunningService, wait_until

from bundle.contents import BundleContents

COLUMNS = ["title", "category", "price", "stock", "new", "tags"]
DISLIKE = -0.5


@dataclass
class World:
    """What a service knows, beginning with a bundle."""

    contents: BundleContents
    version: str
    items: dict[str, Known] = field(default_factory=dict)
    trained: dict[str, Known] = field(default_factory=dict)
    events: dict[str, list[tuple[str, float]]] = field(default_factory=dict)
    erased: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        contents = self.contents
        popularity = contents.seen.column_counts()
        for row, columns in enumerate(contents.item_table.to_pylist()):
            vector = contents.item_vectors[row]
            known = Known(vector, columns, int(popularity[row]), contents.item_parts[row])
            self.trained[columns.pop("item_id")] = known
        self.items = dict(self.trained)
        weights = onnx.load_from_string(contents.item_encoder).graph.initializer
        self._weights = {array.name: numpy_helper.to_array(array) for array in weights}

    # What happens.

    def put(self, item_id: str, features: dict[str, Any] | None, columns: Any = None) -> None:
        known = self.trained.get(item_id)
        shown = known.columns if known else dict.fromkeys(COLUMNS)
        if columns is not None:
            shown = {**dict.fromkeys(COLUMNS), **columns}
        if features is None:
            assert known is not None
            self.items[item_id] = Known(known.vector, shown, known.interactions, known.parts)
            return
        projected = [
            np.array(values, np.float32) @ self._weights[f"{name}.weight"]
            for name, values in features.items()
        ]
        vector = np.sum(projected, axis=0).astype(np.float32)
        self.items[item_id] = Known(vector, shown, known.interactions if known else 0, None)

    def delete(self, item_id: str) -> None:
        del self.items[item_id]

    def hear(self, user_id: str, item_id: str, weight: float) -> None:
        self.events.setdefault(user_id, []).append((item_id, weight))

    def erase(self, user_id: str) -> None:
        self.erased.add(user_id)
        self.events[user_id] = []

    # What has to be answered.

    def seen(self, user_id: str) -> list[str]:
        row = None if user_id in self.erased else self.contents.users.get(user_id)
        if row is None:
            return []
        return [self.contents.items[i] for i in self.contents.seen.row(row).tolist()]

    def taste(self, user_id: str) -> tuple[Vector | None, str, set[str]]:
        """The user's vector, if there is one, `source`, and what `exclude_seen` leaves out."""
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
        """What the encoder makes of items; deleted ones of the bundle are still liked."""
        known = [
            (found.vector, weight)
            for item_id, weight in weights.items()
            if (found := self.items.get(item_id) or self.trained.get(item_id)) is not None
        ]
        if not any(weight > 0 and vector.any() for vector, weight in known):
            return None
        total = sum(vector.astype(np.float64) * np.float32(weight) for vector, weight in known)
        divisor = max(sum(weight for _, weight in known), 1e-9)
        vector = (total / divisor).astype(np.float32)
        return vector if vector.any() else None

    def scores(
        self, vector: Vector | None, without: set[str], text: str | None
    ) -> dict[str, float]:
        """Of all items that may come back; by popularity without a vector."""
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
        """An answer of `/recommend`."""
        user_id = answer["user_id"]
        vector, source, seen = self.taste(user_id)
        assert (answer["source"], answer["bundle_version"]) == (source, self.version)
        assert (answer["fallback_reason"] is None) == (source != "popular")
        without = {*exclude, *(seen if exclude_seen else ())}
        self.check(answer["items"], self.scores(vector, without, text), k)

    def check(self, items: list[dict[str, Any]], scores: dict[str, float], k: int) -> None:
        """The best k; those with equal scores may come in any order."""
        ids = [item["item_id"] for item in items]
        assert len(ids) == len(set(ids)) == min(k, len(scores))
        assert not set(ids) - set(scores), "an item that must not come back"
        expected = sorted(scores.values(), reverse=True)[:k]
        # A fold-in whose weights add up to nothing has scores as large as 1e9.
        largest = max(map(abs, scores.values()), default=1.0)
        close = {"rtol": 1e-5, "atol": 1e-5 * max(largest, 1.0)}
        given = [item["score"] for item in items]
        np.testing.assert_allclose(given, expected, **close)
        np.testing.assert_allclose(given, [scores[i] for i in ids], **close)
        assert [item["rank"] for item in items] == list(range(1, len(ids) + 1))

    def cosines(self, item_id: str, text: str | None = None, by: str = "fused") -> dict[str, float]:
        """Of an item with all others, as `/similar` compares them."""
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
    """Two services with one state, asked in turn, and the world that they live in."""

    services: list[RunningService]
    world: World
    _turn: int = 0

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """By the replica whose turn it is."""
        self._turn += 1
        service = self.services[self._turn % len(self.services)]
        return service.client.request(method, path, **options)

    def get(self, path: str, **params: Any) -> Any:
        """The JSON of an answer that must be there."""
        response = self.request("GET", path, params=params or None)
        assert response.status_code == 200, response.text
        return response.json()

    def post_events(self, *events: dict[str, Any]) -> dict[str, Any]:
        response = self.request("POST", "/events", json={"events": events})
        assert response.status_code == 202, response.text
        found: dict[str, Any] = response.json()
        return found

    def hear(self, user_id: str, item_id: str, kind: str = "view", weight: Any = None) -> None:
        """An event that happens here and in the world."""
        given = {} if weight is None else {"weight": weight}
        self.post_events({"user_id": user_id, "item_id": item_id, "type": kind, **given})
        usual = DISLIKE if kind == "dislike" else 1.0
        self.world.hear(user_id, item_id, usual if weight is None else weight)

    def put(self, item_id: str, features: Any = None, columns: Any = None) -> dict[str, Any]:
        """A change of an item, here and in the world; the other replica hears of it, too."""
        body = {"features": features, "columns": columns}
        body = {name: value for name, value in body.items() if value is not None}
        response = self.request("PUT", f"/items/{quote(item_id, safe='')}", json=body)
        assert response.status_code == 200, response.text
        self.world.put(item_id, features, columns)
        self.agree_on(item_id)
        found: dict[str, Any] = response.json()
        return found

    def delete(self, item_id: str) -> None:
        response = self.request("DELETE", f"/items/{quote(item_id, safe='')}")
        assert response.status_code == 204, response.text
        self.world.delete(item_id)
        self.agree_on(item_id)

    def agree_on(self, item_id: str) -> None:
        """Wait until all replicas know what became of an item: a second at most."""
        name = quote(item_id, safe="")
        known = self.world.items.get(item_id)

        def agreed() -> bool:
            answers = [
                [service.get(path) for path in (f"/items/{name}", f"/similar/{name}?k=3")]
                for service in self.services
            ]
            if known is None:
                return all(answer.status_code == 404 for both in answers for answer in both)
            # The one that was asked to change it knows; what resembles it tells its vector.
            wanted = answers[self._turn % len(answers)]
            return all([a.json() for a in both] == [w.json() for w in wanted] for both in answers)

        wait_until(agreed, f"all replicas to agree on {item_id!r}", 1.0)

    def recommend(self, user_id: str, **params: Any) -> dict[str, Any]:
        """An answer, checked by the world."""
        answer = self.get(f"/recommend/{quote(user_id, safe='')}", **params)
        self.world.check_user(
            answer,
            params.get("k", 20),
            params.get("filter"),
            params.get("exclude", ()),
            params.get("exclude_seen", True),
        )
        found: dict[str, Any] = answer
        return found
