"""Rankings of cursors that are computed while the user is erased."""

import asyncio
from pathlib import Path

import orjson

from service.api.pagination import recommend_page
from service.lifespan import open_runtime
from service.observability.metrics import Metrics
from service.schemas.recommend import RecommendQuery
from service.settings import Settings
from tests.support.running.service_fixtures import Published


def test_a_ranking_from_before_an_erasure_is_not_kept_after_it(
    published: Published, tmp_path: Path
) -> None:
    user = published.known[-1]
    settings = Settings(store=str(published.store), state=tmp_path / "state.sqlite3", reload_poll=0)

    async def run() -> None:
        async with open_runtime(settings, Metrics(), None) as (runtime, *_):
            state = runtime.state
            keep = state.keep_pages
            sources: list[str] = []

            async def keep_after_erasure(user_id: str, token: str, body: bytes, ttl: int) -> None:
                if not sources:
                    await state.erase_user(user)
                sources.append(orjson.loads(body)["answer"]["source"])
                await keep(user_id, token, body, ttl)

            state.keep_pages = keep_after_erasure  # type: ignore[method-assign]
            query = RecommendQuery(exclude=[], cursor="new")
            first = orjson.loads(await recommend_page(runtime, user, query))
            assert sources == ["known_user", "popular"]
            assert first["source"] == "popular"
            token = first["next_cursor"].partition(".")[0]
            kept = await state.pages(token)
            assert kept is not None and orjson.loads(kept)["answer"]["source"] == "popular"

    asyncio.run(run())
