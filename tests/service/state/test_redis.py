"""The Redis state: errors, and foreign values and replies, which are never taken for its own."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from service.state.base import NewChange, State, StateError
from tests.support.running.proxies import constant_reply_server
from tests.support.running.servers import RunningRedis
from tests.support.running.states import event, new, redis_backend, run

Write = Callable[[State], Awaitable[object]]
WRITES: dict[str, Write] = {
    "events": lambda state: state.add_events(new([event("user-1", "item-1")])),
    "changes": lambda state: state.add_changes([NewChange("item", "item-1", b"{}")]),
    "erasure": lambda state: state.erase_user("user-1"),
    "pages": lambda state: state.keep_pages("user-1", "token", b"{}", 60),
}


def test_the_log_names_no_user(
    redis_server: RunningRedis, capsys: pytest.CaptureFixture[str]
) -> None:
    """redis-py adds the command, with its key, to the text of a pipeline's error."""
    user = "Maria Muster"

    async def run() -> None:
        backend = redis_backend(redis_server.url)
        redis_server.client.config_set("maxmemory", 1)
        async with backend.open() as state:
            for write in (
                lambda: state.keep_pages(user, "token", b"{}", 60),
                lambda: state.add_events(new([event(user, "item")])),
                lambda: state.erase_user(user),
            ):
                with pytest.raises(StateError):
                    await write()
                redis_server.client.config_set("maxmemory", 0)
                await state.add_events(new([event("other", "item")]))  # the next error is new
                redis_server.client.config_set("maxmemory", 1)

    asyncio.run(run())
    said = "".join(capsys.readouterr())
    assert said.count("redis_state_failed") == 3, said
    assert "Maria" not in said


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize(
    "reply",
    [b"$-1\r\n", b":2\r\n", b":-1\r\n", b"+PONG\r\n", b"*0\r\n", b"$1\r\n1\r\n", b"*1\r\n:1\r\n"],
    ids=str,
)
def test_a_write_is_not_acknowledged_by_another_reply(write: str, reply: bytes) -> None:
    """As a proxy gives it, or a connection with a reply to another command."""

    async def unacknowledged(url: str) -> None:
        async with redis_backend(url, state_timeout=10).open() as state:
            with pytest.raises(StateError):
                await WRITES[write](state)

    with constant_reply_server(reply) as port:
        asyncio.run(unacknowledged(f"redis://127.0.0.1:{port}/0"))


@pytest.mark.parametrize(
    "value",
    [
        b"null\n",
        b"{}\n",
        b"[]\n",
        b"5\n",
        b'"text"\n',
        b'["item-1",1.0,1.0,"view"]\n',
        b'["item-1",1.0,1.0,"view",null,null]\n',
        b'["item-1",null,1.0,"view",null]\n',
        b'["item-1","1.0",1.0,"view",null]\n',
        b'["item-1",true,1.0,"view",null]\n',
        b'["item-1",1.0,"2026-01-01","view",null]\n',
        b'["item-1",1.0,[],"view",null]\n',
        b'[5,1.0,1.0,"view",null]\n',
        b'[null,1.0,1.0,"view",null]\n',
        b'["item-1",1.0,1.0,7,null]\n',
        b'["item-1",1.0,1.0,"view",{}]\n',
        b'{"a":1,"b":2,"c":3,"d":4,"e":5}\n',
        b'["item-1",1e999,1.0,"view",null]\n',
        b"\xff\xfe\n",
        b"no JSON",
    ],
)
def test_events_that_the_service_did_not_write_are_an_error_of_the_state(
    shared_redis: RunningRedis, value: bytes
) -> None:
    backend = redis_backend(shared_redis.url)
    good = event("user-1", "item-1")

    async def test(one: State, other: State) -> None:
        await one.add_events(new([good]))
        [key] = shared_redis.client.keys(f"*{backend.settings.redis_namespace}:*:user:user-1")
        shared_redis.client.set(key, good.line() + value)
        with pytest.raises(StateError, match="cannot be read"):
            await other.user("user-1")
        await one.erase_user("user-1")
        assert (await other.user("user-1")).erased

    run(backend, test)
