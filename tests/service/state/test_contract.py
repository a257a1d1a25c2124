"""One contract for every `State`: a SQLite file, a Redis, a Redis Cluster."""

import asyncio

import pytest

from bundle.events.keys import PARTITIONS, Keys
from bundle.events.records import RECENT, Event
from service.state.base import NOTHING, Changes, NewEvent, State, UserState
from tests.support.running.states import UNUSUAL_IDS, StateBackend, event, new, run


@pytest.mark.slow
def test_an_empty_state_has_nothing(backend: StateBackend) -> None:
    async def test(one: State, other: State) -> None:
        assert await one.user("user-1") == NOTHING
        assert await other.changes(0) == Changes([])
        assert await one.pages("token") is None
        assert not one.degraded

    run(backend, test)
    assert backend.log() == []


def test_events_are_read_as_they_were_written_and_in_order(backend: StateBackend) -> None:
    events = [
        Event(user, item, kind, 1e9 / 3 + n, weight)
        for n, (user, item) in enumerate((u, i) for u in UNUSUAL_IDS for i in UNUSUAL_IDS)
        for kind, weight in (("view", 1.0), ("dislike", -0.1), ("a_B-9.z", 1e6))
    ]

    async def test(one: State, other: State) -> None:
        assert await one.add_events(new(events)) == [True] * len(events)
        for user in UNUSUAL_IDS:
            expected = [e for e in events if e.user_id == user]
            for state in (one, other):
                assert await state.user(user) == UserState(erased=False, events=expected)
        assert await one.user("x") == NOTHING

    run(backend, test)
    for user in UNUSUAL_IDS:
        expected = [e for e in events if e.user_id == user]
        assert [e for e in backend.log() if e.user_id == user] == expected


@pytest.mark.slow
def test_the_arm_of_an_experiment_is_kept(backend: StateBackend) -> None:
    given = event("user-1", "item-1", arm="ranking/b")

    async def test(one: State, other: State) -> None:
        await one.add_events(new([given]))
        assert (await other.user("user-1")).events == [given]

    run(backend, test)
    assert backend.log() == [given]


def test_an_event_with_a_key_is_kept_once(backend: StateBackend) -> None:
    first, second = event("user-1", "item-1"), event("user-1", "item-2")

    async def test(one: State, other: State) -> None:
        assert await one.add_events([NewEvent(first, "k")]) == [True]
        assert await one.add_events([NewEvent(first, "k")]) == [False]
        assert await other.add_events([NewEvent(second, "k"), NewEvent(second, "l")]) == [
            False,
            True,
        ]
        twice = [NewEvent(first, "m"), NewEvent(second, "m"), NewEvent(first), NewEvent(first)]
        assert await one.add_events(twice) == [True, False, True, True]
        assert (await other.user("user-1")).events == [first, second, first, first, first]

    run(backend, test)
    assert len(backend.log()) == 5


def test_a_key_belongs_to_a_user(backend: StateBackend) -> None:
    """Users share partitions; user and key joined may equal another pair joined."""
    users = [f"user-{n}" for n in range(2 * PARTITIONS)]
    pairs = [(user, "1") for user in users]
    pairs += [("a\nb", "c"), ("a", "b\nc"), ("a:b", "c"), ("a", "b:c"), ("1:a", "b"), ("a", "1:b")]

    async def test(one: State, other: State) -> None:
        given = [NewEvent(event(user, "item-1"), key) for user, key in pairs]
        assert await one.add_events(given) == [True] * len(pairs)
        assert await other.add_events(given) == [False] * len(pairs)

    run(backend, test)
    assert len(backend.log()) == len(pairs)


@pytest.mark.parametrize("length", [6, 900], ids=["short", "long"])
@pytest.mark.parametrize("erased", [False, True], ids=["kept", "erased"])
def test_the_newest_events_count_and_all_are_logged(
    backend: StateBackend, length: int, erased: bool
) -> None:
    count = 6 * RECENT if length < 10 else 2 * RECENT
    events = [event("user-1", f"{n:0{length}d}", n) for n in range(count)]

    async def test(one: State, other: State) -> None:
        if erased:
            await one.erase_user("user-1")
        for start in range(0, count, 130):
            await one.add_events(new(events[start : start + 130]))
            heard = await other.user("user-1")
            assert heard.erased == erased
            assert heard.events == events[: start + 130][-RECENT:]

    run(backend, test)
    assert backend.log() == events


def test_an_erased_user_leaves_a_tombstone_and_nothing_else(backend: StateBackend) -> None:
    users = [f"user-{n}" for n in range(3 * PARTITIONS)]
    before = [event(user, f"old-{n}", n) for n in range(40) for user in users]
    after = [event("user-7", f"new-{n}", n) for n in range(3)]

    async def test(one: State, other: State) -> None:
        await one.add_events([NewEvent(e, f"{e.item_id}") for e in before])
        await one.erase_user("user-7")
        for state in (one, other):
            assert await state.user("user-7") == UserState(erased=True, events=[])
            assert len((await state.user("user-8")).events) == 40
        changes = (await other.changes(0)).new
        assert [(n.kind, n.name) for n in changes] == [("user", "user-7")]
        # A client that repeats what it sent before the erasure does not undo it.
        assert await other.add_events([NewEvent(event("user-7", "old-0"), "old-0")]) == [False]
        assert await other.add_events(new(after)) == [True] * 3
        for state in (one, other):
            assert await state.user("user-7") == UserState(erased=True, events=after)
        await other.erase_user("user-7")
        assert await one.user("user-7") == UserState(erased=True, events=[])
        again = (await one.changes(changes[-1].number)).new
        assert [(n.kind, n.name) for n in again] == [("user", "user-7")]
        await one.erase_user("unknown")
        assert await other.user("unknown") == UserState(erased=True, events=[])
        await one.add_events(new(after[:1]))

    run(backend, test)
    log = backend.log()
    assert [e for e in log if e.user_id == "user-7"] == after[:1]
    assert len(log) == 40 * (len(users) - 1) + 1


def test_nothing_of_an_erased_user_is_left_but_the_tombstone(backend: StateBackend) -> None:
    async def test(one: State, _: State) -> None:
        await one.add_events([NewEvent(event("Maria Muster", "secret"), "key-of-maria")])
        await one.erase_user("Maria Muster")

    run(backend, test)
    if backend.settings.redis_url is None:
        assert backend.settings.state is not None
        everything = backend.settings.state.read_bytes()
        assert b"secret" not in everything
        assert everything.count(b"Maria Muster") <= 2  # the note, in its table and its index
        return
    client = backend.client()
    keys = Keys(backend.settings.redis_namespace)
    holders = [
        k.decode() for k in client.scan_iter(f"drepmrec:{backend.settings.redis_namespace}:*")
    ]
    named = [key for key in holders if "Maria" in key or "maria" in key]
    assert named == [keys.user("Maria Muster")]
    assert client.get(named[0]) == b"erased\n"
    assert client.ttl(named[0]) == -1  # it is there until a refresh has erased the user
    assert backend.log() == []
    client.close()


def test_a_tombstone_does_not_expire(backend: StateBackend) -> None:
    if backend.settings.redis_url is None:
        pytest.skip("events in a file do not expire")

    async def test(one: State, _: State) -> None:
        await one.add_events(new([event("user-1", "item-1"), event("user-2", "item-1")]))
        await one.erase_user("user-1")
        await one.add_events(new([event("user-1", "item-2")]))

    run(backend, test)
    client, keys = backend.client(), Keys(backend.settings.redis_namespace)
    assert client.ttl(keys.user("user-1")) == -1
    assert 0 < client.ttl(keys.user("user-2")) <= backend.settings.events_ttl
    client.close()


def test_writes_in_work_are_finished_on_closing(backend: StateBackend) -> None:
    given = [event("user-1", f"item-{n}", n) for n in range(20)]

    async def close_early() -> list[list[bool]]:
        async with backend.open() as state:
            tasks = [asyncio.create_task(state.add_events(new([one]))) for one in given]
            await asyncio.sleep(0)
        return await asyncio.gather(*tasks)

    assert asyncio.run(close_early()) == [[True]] * 20
    assert sorted(backend.log(), key=lambda e: e.timestamp) == given
