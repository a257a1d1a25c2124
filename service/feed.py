"""Changes of items and erased users, as every replica has to know them.

The state is asked every `state_poll` seconds for notes that are new, and at once by whoever has
written one. Each note changes what is served before the next request is read.
"""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager

from bundle.events import unpack_change
from bundle.loading import Bundle
from bundle.overlay import ItemChange
from service.logs import LOGGER
from service.metrics import Metrics
from service.state import Notes, State, StateError

Listener = Callable[[Collection[str], Collection[str]], Awaitable[None]]


class Feed:
    """Follows a state's notes; `async with` it.

    Args:
        state: what is followed.
        seconds: between looks.
        metrics: where failures are counted.
    """

    def __init__(self, state: State, seconds: float, metrics: Metrics) -> None:
        self._changes: dict[str, tuple[int, ItemChange]] = {}
        self._erased: dict[str, int] = {}
        self._state = state
        self._seconds = seconds
        self._failures = metrics.state_failures.labels("notes")
        self._number = 0
        self._one_at_a_time = asyncio.Lock()
        self._listeners: list[Listener] = []
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Feed":
        """Read what is there and begin to follow; a state that fails is asked again."""
        with contextlib.suppress(StateError):
            await self.sync()
        self._task = asyncio.create_task(self._follow())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        async with self.paused():
            pass  # what was begun is finished

    def listen(self, listener: Listener) -> None:
        """Have it told which item_ids changed and which user_ids were erased."""
        self._listeners.append(listener)

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Nothing is taken in meanwhile."""
        async with self._one_at_a_time:
            yield

    @property
    def changed(self) -> Collection[str]:
        """The item_ids that there are changes of."""
        return self._changes.keys()

    def changes(self, bundle: Bundle) -> dict[str, ItemChange]:
        """The newest change of each item, by item_id, of those that are not in a bundle."""
        taken = bundle.manifest.taken.notes
        return {name: change for name, (number, change) in self._changes.items() if number > taken}

    def in_bundle(self, user_id: str, bundle: Bundle) -> bool:
        """Whether a bundle was made after the user was erased, so that its row may be used."""
        return self._erased.get(user_id, math.inf) <= bundle.manifest.taken.notes

    def erased(self, user_id: str) -> bool:
        """Whether a user was ever erased."""
        return user_id in self._erased

    async def sync(self) -> None:
        """Take in what is new, to the end even if the caller goes away.

        Raises:
            StateError: the state cannot be read.
        """
        # Who goes away does not leave half of it to the next one.
        await asyncio.shield(self._sync())

    async def _sync(self) -> None:
        async with self._one_at_a_time:
            notes = await self._state.notes(self._number)
            if notes.new:
                await self._take_in(notes)

    async def _take_in(self, notes: Notes) -> None:
        items: set[str] = set()
        users: set[str] = set()
        if notes.lost:
            items.update(self._changes)
            self._changes.clear()
            self._erased.clear()
        for note in notes.new:
            if note.kind == "user":
                self._erased[note.name] = note.number
                users.add(note.name)
                continue
            try:
                self._changes[note.name] = note.number, unpack_change(note.name, note.body)
            except (ValueError, KeyError, TypeError):
                LOGGER.error("note_unreadable", number=note.number)
                continue
            items.add(note.name)
        for listener in self._listeners:
            await listener(items, users)
        self._number = notes.new[-1].number

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            try:
                await self._sync()
            except StateError:
                self._failures.inc()
            # Whatever is wrong with one change, the next ones must be heard.
            except Exception:
                self._failures.inc()
                LOGGER.exception("notes_not_taken_in")
