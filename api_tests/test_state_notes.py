"""The contract of `State` for notes and pages: numbers, followers, a state that was lost."""

import asyncio

import pytest
from states import STRANGE, Place, run

from bundle.events import Note
from service.state import NewNote, Notes, State


def test_notes_are_numbered_and_the_newest_of_a_name_counts(place: Place) -> None:
    def item(name: str, body: bytes = b"{}") -> NewNote:
        return NewNote("item", name, body)

    async def test(one: State, other: State) -> None:
        names = [*STRANGE, *(f"item-{n}" for n in range(3000))]
        await one.add_notes([item(name) for name in names])
        notes = (await other.notes(0)).new
        assert [n.name for n in notes] == names
        numbers = [n.number for n in notes]
        assert numbers == sorted(set(numbers))
        assert numbers[0] > 0
        assert await one.notes(numbers[-1]) == Notes([])
        assert await one.notes(numbers[-3]) == Notes(notes[-2:])
        odd = bytes(range(256))
        await other.add_notes([item("item-5", b"1"), item("new"), item("item-5", odd)])
        newer = (await one.notes(numbers[-1])).new
        assert [(n.name, n.body) for n in newer] == [("new", b"{}"), ("item-5", odd)]
        everything = (await one.notes(0)).new
        assert [n.name for n in everything] == [n for n in names if n != "item-5"] + [
            "new",
            "item-5",
        ]
        # An item and a user of the same name are two.
        await one.erase_user("item-5")
        assert {n.kind for n in (await one.notes(0)).new if n.name == "item-5"} == {"item", "user"}

    run(place, test)


def test_who_follows_the_notes_misses_none(place: Place) -> None:
    """While several write at once, whoever asks for what is new has it all in the end."""

    async def test(one: State, other: State) -> None:
        async def write(state: State, writer: int) -> None:
            for n in range(30):
                bodies = [b"%d" % n, b"%d-%d" % (writer, n)]
                await state.add_notes(
                    [NewNote("item", "shared", bodies[1]), NewNote("item", f"{writer}", bodies[0])]
                )

        writers = [asyncio.create_task(write((one, other)[w % 2], w)) for w in range(8)]
        followed: dict[str, Note] = {}
        number = 0
        while True:
            finished = all(writer.done() for writer in writers)
            for note in (await other.notes(number)).new:
                assert note.number > number
                number = note.number
                followed[note.name] = note
            if finished:
                break
            await asyncio.sleep(0)
        await asyncio.gather(*writers)
        in_order = sorted(followed.values(), key=lambda note: note.number)
        assert in_order == (await one.notes(0)).new
        assert all(followed[f"{w}"].body == b"29" for w in range(8))

    run(place, test)


@pytest.mark.parametrize("refilled", [1, 5, 50])
def test_a_state_that_was_lost_and_filled_again_is_read_again(place: Place, refilled: int) -> None:
    """However many notes came before somebody looks."""
    if place.settings.redis_url is None:
        pytest.skip("a file is not lost under a process that has it open")

    async def test(one: State, other: State) -> None:
        await one.add_notes([NewNote("item", f"item-{n}", b"{}") for n in range(5)])
        number = (await other.notes(0)).new[-1].number
        client = place.client()
        client.flushall()
        client.close()
        assert await other.notes(number) == Notes([])
        await one.add_notes([NewNote("item", f"again-{n}", b"{}") for n in range(refilled)])
        notes = await other.notes(number)
        assert notes.lost
        assert [n.name for n in notes.new] == [f"again-{n}" for n in range(refilled)]
        assert not (await other.notes(notes.new[-1].number)).lost

    run(place, test)


def test_pages_end_after_their_time(place: Place) -> None:
    async def test(one: State, other: State) -> None:
        body = bytes(range(256)) * 100
        await one.keep_pages("short", b"1", 1)
        await one.keep_pages("long", body, 60)
        assert await other.pages("short") == b"1"
        assert await other.pages("long") == body
        await other.keep_pages("long", b"2", 60)
        assert await one.pages("long") == b"2"
        await asyncio.sleep(1.2)
        assert await one.pages("short") is None
        assert await one.pages("long") == b"2"
        await one.keep_pages("short", b"3", 60)
        assert await other.pages("short") == b"3"

    run(place, test)
