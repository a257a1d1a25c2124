"""Preloaded vectors and erasures."""

import asyncio
from pathlib import Path

from bundle.events.keys import Keys, vector_key_prefix
from tests.support.data.event_logs import store_with_bundle
from tests.support.running.servers import RunningRedis
from tests.support.running.states import redis_backend
from training.refresh.preload import Preload


def test_users_who_were_erased_during_the_refresh_are_not_preloaded(
    shared_redis: RunningRedis, tmp_path: Path
) -> None:
    """Their erasure came before their vectors; a later one finds these by the recorded version."""
    candidate = store_with_bundle(tmp_path / "store").load()
    backend = redis_backend(shared_redis.url)
    namespace = backend.settings.redis_namespace

    async def erase(user_id: str) -> None:
        async with backend.open() as state:
            await state.erase_user(user_id)

    def preloaded() -> set[str]:
        prefix = vector_key_prefix(namespace, candidate.version)
        keys = shared_redis.client.scan_iter(prefix + b"*", 1000)
        return {key.removeprefix(prefix).decode() for key in keys}

    asyncio.run(erase("user-1"))
    Preload(shared_redis.client, namespace, 1000, 3600).load(candidate)
    before = preloaded()
    assert "user-1" not in before and "user-2" in before
    versions = shared_redis.client.zrange(Keys(namespace).versions, 0, -1)
    assert versions == [candidate.version.encode()]
    asyncio.run(erase("user-2"))
    assert preloaded() == before - {"user-2"}
