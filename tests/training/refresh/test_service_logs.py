"""Logs of a service that nobody has written."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bundle.events.keys import Keys
from tests.support.data.event_logs import StateWriter, event, run_refresh, store_with_bundle
from tests.support.running.servers import RunningRedis
from training.errors import SourceError
from training.refresh.pipeline import Outcome, RefreshOptions, refresh_bundle
from training.refresh.redis_client import RedisOptions
from training.refresh.service_logs import RedisLog


def test_a_refresh_that_finds_no_log_in_redis_fails(
    shared_redis: RunningRedis, tmp_path: Path
) -> None:
    """A namespace that is not the service's would otherwise be "nothing new" for ever."""
    store = store_with_bundle(tmp_path / "store")
    right = RedisOptions(namespace="no-log-right")
    wrong = replace(right, namespace="no-log-wrong")
    each = event("user-1", "item-1")
    fields: dict[Any, Any] = {"user_id": each.user_id, "item_id": each.item_id, "type": "view"}
    fields |= {"timestamp": repr(each.timestamp), "weight": "1.0"}
    log = Keys(right.namespace).log(each.user_id)
    shared_redis.client.xadd(log, fields)
    quiet = RefreshOptions(say=lambda _: None)
    with pytest.raises(SourceError, match="namespace 'no-log-wrong'"):
        refresh_bundle(store, [RedisLog(shared_redis.url, wrong)], quiet)
    assert refresh_bundle(store, [RedisLog(shared_redis.url, right)], quiet).version is not None
    shared_redis.client.xtrim(log, maxlen=0, approximate=False)
    again = refresh_bundle(store, [RedisLog(shared_redis.url, right)], quiet)
    assert again == Outcome(None, None), "a log whose events are all taken in is one"


def test_a_state_without_events_is_one_that_is_kept(tmp_path: Path) -> None:
    store = store_with_bundle(tmp_path / "store")
    StateWriter(tmp_path / "store").add_events([])
    assert run_refresh(store) == Outcome(None, None)
