"""One contract for every `State`: a SQLite file, a Redis, a Redis Cluster."""

import asyncio

import pytest
from states import STRANGE, Place, event, new, run

from bundle.events import PARTITIONS, RECENT, Event, Keys
from service.state import NOTHING, NewEvent, Notes, State, UserState


def test_an_empty_state_has_heard_of_nothing(place: Place) -> None:
    async def test(one: State, other: State) -> None:
        assert await one.user("user-1") == NOTHING
        assert await other.notes(0) == Notes([])
        assert await one.pages("token") is None
        assert not one.degraded

    run(place, test)
    assert place.log() == []


def test_events_come_back_as_they_were_in_order(place: Place) -> None:
    events = [
        Event(user, item, kind, 1e9 / 3 + n, weight)
        for n, (user, item) in enumerate((u, i) for u in STRANGE for i in STRANGE)
        for kind, weight in (("view", 1.0), ("dislike", -0.1), ("a_B-9.z", 1e6))
    ]

    async def test(one: State, other: State) -> None:
        assert await one.add_events(new(events)) == [True] * len(events)
        for user in STRANGE:
            expected = [e for e in events if e.user_id == user]
            for state in (one, other):
                assert await state.user(user) == UserState(erased=False, events=expected)
        assert await one.user("x") == NOTHING

    run(place, test)
    for user in STRANGE:
        expected = [e for e in events if e.user_id == user]
        assert [e for e in place.log() if e.user_id == user] == expected


def test_the_arm_of_an_experiment_is_kept(place: Place) -> None:
    given = event("user-1", "item-1", arm="ranking/b")

    async def test(one: State, other: State) -> None:
        await one.add_events(new([given]))
        assert (await other.user("user-1")).events == [given]

    run(place, test)
    assert place.log() == [given]


def test_an_event_with_a_key_is_kept_once(place: Place) -> None:
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

    run(place, test)
    assert len(place.log()) == 5


def test_a_key_is_its_users_own(place: Place) -> None:
    """With more users than partitions some share one; user and key joined may be another's."""
    users = [f"user-{n}" for n in range(2 * PARTITIONS)]
    pairs = [(user, "1") for user in users]
    pairs += [("a\nb", "c"), ("a", "b\nc"), ("a:b", "c"), ("a", "b:c"), ("1:a", "b"), ("a", "1:b")]

    async def test(one: State, other: State) -> None:
        given = [NewEvent(event(user, "item-1"), key) for user, key in pairs]
        assert await one.add_events(given) == [True] * len(pairs)
        assert await other.add_events(given) == [False] * len(pairs)

    run(place, test)
    assert len(place.log()) == len(pairs)


@pytest.mark.parametrize("length", [6, 900], ids=["short", "long"])
@pytest.mark.parametrize("erased", [False, True], ids=["kept", "erased"])
def test_the_newest_events_count_and_all_are_logged(
    place: Place, length: int, erased: bool
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

    run(place, test)
    assert place.log() == events


def test_an_erased_user_leaves_a_tombstone_and_nothing_else(place: Place) -> None:
    users = [f"user-{n}" for n in range(3 * PARTITIONS)]
    before = [event(user, f"old-{n}", n) for n in range(40) for user in users]
    after = [event("user-7", f"new-{n}", n) for n in range(3)]

    async def test(one: State, other: State) -> None:
        await one.add_events([NewEvent(e, f"{e.item_id}") for e in before])
        await one.erase_user("user-7")
        for state in (one, other):
            assert await state.user("user-7") == UserState(erased=True, events=[])
            assert len((await state.user("user-8")).events) == 40
        notes = (await other.notes(0)).new
        assert [(n.kind, n.name) for n in notes] == [("user", "user-7")]
        # A client that repeats what it sent before the erasure does not undo it.
        assert await other.add_events([NewEvent(event("user-7", "old-0"), "old-0")]) == [False]
        assert await other.add_events(new(after)) == [True] * 3
        for state in (one, other):
            assert await state.user("user-7") == UserState(erased=True, events=after)
        await other.erase_user("user-7")
        assert await one.user("user-7") == UserState(erased=True, events=[])
        again = (await one.notes(notes[-1].number)).new
        assert [(n.kind, n.name) for n in again] == [("user", "user-7")]
        await one.erase_user("never heard of")
        assert await other.user("never heard of") == UserState(erased=True, events=[])
        await one.add_events(new(after[:1]))

    run(place, test)
    log = place.log()
    assert [e for e in log if e.user_id == "user-7"] == after[:1]
    assert len(log) == 40 * (len(users) - 1) + 1


def test_nothing_of_an_erased_user_is_left_but_the_tombstone(place: Place) -> None:
    async def test(one: State, _: State) -> None:
        await one.add_events([NewEvent(event("Maria Muster", "secret"), "key-of-maria")])
        await one.erase_user("Maria Muster")

    run(place, test)
    if place.settings.redis_url is None:
        assert place.settings.state is not None
        everything = place.settings.state.read_bytes()
        assert b"secret" not in everything
        assert everything.count(b"Maria Muster") <= 2  # the note, in its table and its index
        return
    client = place.client()
    keys = Keys(place.settings.redis_namespace)
    holders = [k.decode() for k in client.scan_iter(f"drepmrec:{place.settings.redis_namespace}:*")]
    named = [key for key in holders if "Maria" in key or "maria" in key]
    assert named == [keys.user("Maria Muster")]
    assert client.get(named[0]) == b"erased\n"
    assert client.ttl(named[0]) == -1  # it must not expire before a refresh has honoured it
    assert place.log() == []
    client.close()


def test_the_tombstone_outlives_the_events(place: Place) -> None:
    if place.settings.redis_url is None:
        pytest.skip("events in a file have no end of life")

    async def test(one: State, _: State) -> None:
        await one.add_events(new([event("user-1", "item-1"), event("user-2", "item-1")]))
        await one.erase_user("user-1")
        await one.add_events(new([event("user-1", "item-2")]))

    run(place, test)
    client, keys = place.client(), Keys(place.settings.redis_namespace)
    assert client.ttl(keys.user("user-1")) == -1
    assert 0 < client.ttl(keys.user("user-2")) <= place.settings.events_ttl
    client.close()


def test_what_was_begun_is_finished_on_closing(place: Place) -> None:
    given = [event("user-1", f"item-{n}", n) for n in range(20)]

    async def close_early() -> list[list[bool]]:
        async with place.open() as state:
            tasks = [asyncio.create_task(state.add_events(new([one]))) for one in given]
            await asyncio.sleep(0)
        return await asyncio.gather(*tasks)

    assert asyncio.run(close_early()) == [[True]] * 20
    assert sorted(place.log(), key=lambda e: e.timestamp) == given
