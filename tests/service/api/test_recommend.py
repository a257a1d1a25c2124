"""Batches leave other requests their turn, and long work leaves the event loop."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from fastapi import Request

from service.api.recommend import recommend_many
from service.engine.cost import INLINE, users_at_once
from service.engine.runtime import Runtime
from service.lifespan import open_runtime
from service.observability.metrics import Metrics
from service.schemas.recommend import BatchRecommendRequest, UserQuery
from service.settings import Settings
from tests.support.running.service_fixtures import Published


def diverse(k: int) -> UserQuery:
    return UserQuery(exclude=[], k=k, diversity=0.2)


NOBODY = Request({"type": "http", "headers": []})


@asynccontextmanager
async def running(published: Published) -> AsyncIterator[Runtime]:
    settings = Settings(store=str(published.store), reload_poll=0)
    async with open_runtime(settings, Metrics(), None) as (runtime, *_):
        yield runtime


@pytest.mark.parametrize(
    "options", [{}, {"k": 200}, {"explain": True}, {"diversity": 0.3, "k": 10}, {"k": 500}]
)
def test_a_batch_gives_others_their_turn(published: Published, options: dict[str, Any]) -> None:
    users = published.known[:150]
    query = BatchRecommendRequest(users=users, **options)

    async def most_in_a_turn() -> int:
        async with running(published) as runtime:
            registry, most, before = runtime.metrics.registry, 0, 0.0
            batch = asyncio.create_task(recommend_many(query, runtime, NOBODY))
            while not batch.done():
                await asyncio.sleep(0)
                stage = {"stage": "serialisation"}
                now = registry.get_sample_value("drepmrec_stage_seconds_count", stage) or 0.0
                most, before = max(most, int(now - before)), now
            results = orjson.loads((await batch).body)["results"]
            assert [result["user_id"] for result in results] == users
            return most

    at_once = users_at_once(query) * (2 if query.explain else 1)  # the answer and its reasons
    assert 0 < asyncio.run(most_in_a_turn()) <= at_once < len(users)


def test_long_work_leaves_the_event_loop(published: Published) -> None:
    async def threads() -> list[int]:
        async with running(published) as runtime:
            engine, found = runtime.engine, []
            diversify, explained = engine.recommender.diversify, engine.encoder.explained

            def seen(work: Any) -> Any:
                def noted(*arguments: Any) -> Any:
                    found.append(threading.get_ident())
                    return work(*arguments)

                return noted

            engine.recommender.diversify = seen(diversify)  # type: ignore[method-assign]
            engine.encoder.explained = seen(explained)  # type: ignore[method-assign]
            for query in (diverse(10), diverse(200)):
                profile, options, top = await engine.rank("user-3", query)
                response = engine.encoder.recommendations("user-3", profile, top)
                assert profile.vector is not None
                await engine.explain(response, profile.vector, profile.history, options, top)
            found.append(await engine._run(INLINE + 1, threading.get_ident))
            return found

    here = threading.get_ident()
    places = [thread == here for thread in asyncio.run(threads())]
    assert places == [True, True, False, False, False]
