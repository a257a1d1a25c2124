"""Thousands of random requests to two replicas, each compared with the reference model."""

import inspect
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.support.data.item_changes import FILTERS, random_columns, random_features
from tests.support.reference.reference_model import COLUMNS, DISLIKE, Replicas
from tests.support.running.service_fixtures import UNUSUAL_IDS

USERS = [*(f"user-{n}" for n in range(0, 60, 4)), *UNUSUAL_IDS[:4], "new-a", "new-b", "new-c"]
ITEMS = [*(f"item-{n}" for n in range(40)), *UNUSUAL_IDS[4:], *(f"extra-{n}" for n in range(12))]

user_ids, item_ids = st.sampled_from(USERS), st.sampled_from(ITEMS)
filters = st.one_of(st.none(), st.sampled_from(list(FILTERS)))
seeds = st.integers(0, 2**31)
# Sums of these are exact: a sum of weights that is nearly 0 would make rounding visible.
weights = st.sampled_from([None, 1.0, 0.25, 3.0, -0.5, -1.0, -4.0])
ks = st.sampled_from([1, 7, 20, 100, 500])

Step = Callable[[Replicas], None]


def features(seed: int) -> dict[str, list[float]]:
    given = random_features(seed)
    if seed % 3 == 0:
        del given["image" if seed % 2 else "text"]
    return given


@st.composite
def put(draw: st.DrawFn) -> Step:
    item_id, seed, has_columns = draw(item_ids), draw(seeds), draw(st.booleans())
    columns = random_columns(np.random.default_rng(seed)) if has_columns else None
    with_features = draw(st.booleans())

    def step(replicas: Replicas) -> None:
        made = with_features or item_id not in replicas.reference.trained
        answer = replicas.put(item_id, features(seed) if made else None, columns)
        known = replicas.reference.items[item_id]
        assert answer["columns"] == known.columns
        assert answer["interactions"] == known.interactions

    return step


@st.composite
def delete(draw: st.DrawFn) -> Step:
    item_id = draw(item_ids)

    def step(replicas: Replicas) -> None:
        if item_id in replicas.reference.items:
            replicas.delete(item_id)
        else:
            response = replicas.request("DELETE", f"/items/{quote(item_id, safe='')}")
            assert response.status_code == 404

    return step


@st.composite
def add_event(draw: st.DrawFn) -> Step:
    events = draw(
        st.lists(
            st.tuples(user_ids, item_ids, st.sampled_from(["view", "dislike"]), weights),
            min_size=1,
            max_size=5,
        )
    )

    def step(replicas: Replicas) -> None:
        sent: list[dict[str, Any]] = []
        for user_id, item_id, kind, weight in events:
            one = {"user_id": user_id, "item_id": item_id, "type": kind}
            sent.append(one if weight is None else {**one, "weight": weight})
            usual = DISLIKE if kind == "dislike" else 1.0
            replicas.reference.add_event(user_id, item_id, usual if weight is None else weight)
        assert replicas.post_events(*sent) == {"accepted": len(sent), "repeated": 0}

    return step


@st.composite
def erase(draw: st.DrawFn) -> Step:
    user_id = draw(user_ids)

    def step(replicas: Replicas) -> None:
        response = replicas.request("DELETE", f"/users/{quote(user_id, safe='')}")
        assert response.status_code == 204
        replicas.reference.erase(user_id)

    return step


@st.composite
def recommend(draw: st.DrawFn) -> Step:
    user_id, k, text = draw(user_ids), draw(ks), draw(filters)
    params: dict[str, Any] = {"k": k, "exclude_seen": draw(st.booleans())}
    params["exclude"] = draw(st.lists(item_ids, max_size=5))
    if text is not None:
        params["filter"] = text

    def step(replicas: Replicas) -> None:
        replicas.recommend(user_id, **params)

    return step


@st.composite
def recommend_many(draw: st.DrawFn) -> Step:
    body: dict[str, Any] = {
        "users": draw(st.lists(user_ids, min_size=1, max_size=12)),
        "k": draw(ks),
    }

    def step(replicas: Replicas) -> None:
        found = replicas.request("POST", "/recommend", json=body).json()["results"]
        assert [answer["user_id"] for answer in found] == body["users"]
        for answer in found:
            replicas.reference.check_user(answer, body["k"])

    return step


@st.composite
def page(draw: st.DrawFn) -> Step:
    """All pages: no item twice and none left out."""
    user_id, text = draw(user_ids), draw(filters)

    def step(replicas: Replicas) -> None:
        path = f"/recommend/{quote(user_id, safe='')}"
        fixed: dict[str, Any] = {"k": 130} if text is None else {"k": 130, "filter": text}
        answer = replicas.get(path, **fixed, cursor="new")
        items = answer["items"]
        while answer["next_cursor"] is not None:
            answer = replicas.get(path, **fixed, cursor=answer["next_cursor"])
            items += answer["items"]
        replicas.reference.check_user({**answer, "items": items}, 1000, text)

    return step


@st.composite
def session(draw: st.DrawFn) -> Step:
    strengths = st.sampled_from([0.5, 1.0, 2.0])
    liked = draw(st.dictionaries(item_ids, strengths, min_size=1, max_size=5))
    disliked = draw(st.lists(item_ids, max_size=3, unique=True))
    k, text = draw(ks), draw(filters)

    def step(replicas: Replicas) -> None:
        reference = replicas.reference
        hated = [item_id for item_id in disliked if item_id not in liked]
        body: dict[str, Any] = {
            "items": [{"item_id": i, "weight": w} for i, w in liked.items()],
            "disliked": hated,
            "k": k,
        }
        if text is not None:
            body["filter"] = text
        answer = replicas.request("POST", "/recommend/items", json=body).json()
        given = [*liked, *hated]
        known = {i for i in given if i in reference.items or i in reference.trained}
        assert answer["unknown_items"] == [i for i in given if i not in known]
        vector = reference.session(liked | dict.fromkeys(hated, DISLIKE))
        assert answer["source"] == ("popular" if vector is None else "session")
        reference.check(answer["items"], reference.scores(vector, set(given), text), k)

    return step


@st.composite
def similar(draw: st.DrawFn) -> Step:
    item_id, k, text = draw(item_ids), draw(ks), draw(filters)
    by = draw(st.sampled_from(["fused", "behaviour", "image", "text"]))

    def step(replicas: Replicas) -> None:
        path = f"/similar/{quote(item_id, safe='')}"
        if item_id not in replicas.reference.items:
            assert replicas.request("GET", path).status_code == 404
            return
        params: dict[str, Any] = {"k": k, "by": by} | ({} if text is None else {"filter": text})
        items = replicas.get(path, **params)["items"]
        replicas.reference.check(items, replicas.reference.cosines(item_id, text, by), k)
        for item in items:
            assert item["title"] == replicas.reference.items[item["item_id"]].columns["title"]

    return step


@st.composite
def look(draw: st.DrawFn) -> Step:
    """`GET` of a user and of an item."""
    user_id, item_id = draw(user_ids), draw(item_ids)

    def step(replicas: Replicas) -> None:
        reference = replicas.reference
        response = replicas.request("GET", f"/users/{quote(user_id, safe='')}")
        events, seen = reference.events.get(user_id, []), reference.seen(user_id)
        if not events and (user_id in reference.erased or user_id not in reference.contents.users):
            assert response.status_code == 404
        else:
            found = response.json()
            assert [(e["item_id"], e["weight"]) for e in found["events"]] == events[-500:]
            assert found["interactions"] == seen
        response = replicas.request("GET", f"/items/{quote(item_id, safe='')}")
        known = reference.items.get(item_id)
        if known is None:
            assert response.status_code == 404
        else:
            found = response.json()
            assert list(found["columns"]) == COLUMNS
            assert found["columns"] == known.columns
            assert (found["state"] == "new") == (item_id not in reference.trained)
            assert found["has_vector"] == bool(known.vector.any())

    return step


STEPS = st.one_of(
    put(), put(), delete(), add_event(), add_event(), erase(), recommend(), recommend(),
    recommend_many(),
    page(), session(), similar(), look(),
)  # fmt: skip


@pytest.mark.slow
def test_random_requests_agree_with_the_reference_model(replicas: Replicas) -> None:
    wrong: list[AssertionError] = []

    @settings(
        max_examples=40,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(data=st.data())
    def requests(data: st.DataObject) -> None:
        for number in range(60):
            step = data.draw(STEPS)
            try:
                if not wrong:
                    step(replicas)
            except AssertionError as error:
                asked = inspect.getclosurevars(step).nonlocals
                error.add_note(f"in step {number}, {step.__qualname__}: {asked}")
                # Hypothesis would repeat the requests, but the state is no longer empty.
                wrong.append(error)

    requests()
    if wrong:
        raise wrong[0]


@pytest.mark.slow
def test_both_replicas_have_the_same_state(replicas: Replicas) -> None:
    """After all those requests, each replica has the same answer for every user."""
    for user_id in USERS:
        for service in replicas.services:
            answer = service.get(f"/recommend/{quote(user_id, safe='')}", k=500).json()
            assert not answer["degraded"]
            replicas.reference.check_user(answer, 500)
