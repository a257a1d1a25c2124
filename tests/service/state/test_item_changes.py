"""The contract of `State` for notes and pages: their numbers, and a state that was lost."""

import asyncio

import pytest

from bundle.events.records import Change
from service.state.base import Changes, NewChange, State
from tests.support.running.states import UNUSUAL_IDS, StateBackend, run
from tests.support.waiting import until


@pytest.mark.slow
def test_notes_are_numbered_and_the_newest_of_a_name_counts(backend: StateBackend) -> None:
    def item(name: str, body: bytes = b"{}") -> NewChange:
        return NewChange("item", name, body)

    async def test(one: State, other: State) -> None:
        names = [*UNUSUAL_IDS, *(f"item-{n}" for n in range(3000))]
        await one.add_changes([item(name) for name in names])
        changes = (await other.changes(0)).new
        assert [n.name for n in changes] == names
        numbers = [n.number for n in changes]
        assert numbers == sorted(set(numbers))
        assert numbers[0] > 0
        assert await one.changes(numbers[-1]) == Changes([])
        assert await one.changes(numbers[-3]) == Changes(changes[-2:])
        odd = bytes(range(256))
        await other.add_changes([item("item-5", b"1"), item("new"), item("item-5", odd)])
        newer = (await one.changes(numbers[-1])).new
        assert [(n.name, n.body) for n in newer] == [("new", b"{}"), ("item-5", odd)]
        everything = (await one.changes(0)).new
        assert [n.name for n in everything] == [n for n in names if n != "item-5"] + [
            "new",
            "item-5",
        ]
        # An item and a user may have the same name.
        await one.erase_user("item-5")
        assert {n.kind for n in (await one.changes(0)).new if n.name == "item-5"} == {
            "item",
            "user",
        }

    run(backend, test)


def test_a_reader_of_new_notes_misses_none(backend: StateBackend) -> None:
    """It reads what is new again and again while several clients write."""

    async def test(one: State, other: State) -> None:
        async def write(state: State, writer: int) -> None:
            for n in range(30):
                bodies = [b"%d" % n, b"%d-%d" % (writer, n)]
                await state.add_changes(
                    [
                        NewChange("item", "shared", bodies[1]),
                        NewChange("item", f"{writer}", bodies[0]),
                    ]
                )

        writers = [asyncio.create_task(write((one, other)[w % 2], w)) for w in range(8)]
        followed: dict[str, Change] = {}
        number = 0
        while True:
            finished = all(writer.done() for writer in writers)
            for change in (await other.changes(number)).new:
                assert change.number > number
                number = change.number
                followed[change.name] = change
            if finished:
                break
            await asyncio.sleep(0)
        await asyncio.gather(*writers)
        in_order = sorted(followed.values(), key=lambda change: change.number)
        assert in_order == (await one.changes(0)).new
        assert all(followed[f"{w}"].body == b"29" for w in range(8))

    run(backend, test)


@pytest.mark.parametrize("refilled", [1, 5, 50])
def test_a_state_that_was_lost_and_filled_again_is_read_again(
    backend: StateBackend, refilled: int
) -> None:
    """With any number of notes before the next read."""
    if backend.settings.redis_url is None:
        pytest.skip("an open file is not lost")

    async def test(one: State, other: State) -> None:
        await one.add_changes([NewChange("item", f"item-{n}", b"{}") for n in range(5)])
        number = (await other.changes(0)).new[-1].number
        client = backend.client()
        client.flushall()
        client.close()
        assert await other.changes(number) == Changes([])
        await one.add_changes([NewChange("item", f"again-{n}", b"{}") for n in range(refilled)])
        changes = await other.changes(number)
        assert changes.lost
        assert [n.name for n in changes.new] == [f"again-{n}" for n in range(refilled)]
        assert not (await other.changes(changes.new[-1].number)).lost

    run(backend, test)


def test_pages_end_after_their_time(backend: StateBackend) -> None:
    async def test(one: State, other: State) -> None:
        body = bytes(range(256)) * 100
        await one.keep_pages("user", "short", b"1", 3600)
        await one.keep_pages("user", "long", body, 3600)
        assert await other.pages("short") == b"1"
        assert await other.pages("long") == body
        await other.keep_pages("user", "long", b"2", 3600)
        assert await one.pages("long") == b"2"
        await one.keep_pages("user", "short", b"1", 1)

        async def over() -> bool:
            return await one.pages("short") is None

        await until(over, "the end of the pages")
        assert await one.pages("long") == b"2"
        await one.keep_pages("user", "short", b"3", 3600)
        assert await other.pages("short") == b"3"

    run(backend, test)
