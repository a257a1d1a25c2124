"""Change feed: item changes and erased users, which every replica has to know.

Each replica reads new changes from the state every `state_poll` seconds, and at once after writing
one. A change takes effect before the next request is read.
"""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager

from bundle.catalogue.overlay import ItemChange
from bundle.events.records import Change, unpack_change
from bundle.format.reader import Bundle
from service.observability.background import BackgroundLoop
from service.observability.logs import LOGGER
from service.observability.metrics import Metrics
from service.state.base import Changes, State, StateError

Listener = Callable[[Collection[str], Collection[str]], Awaitable[None]]


class ChangeFeed:
    """Reader of a state's changes; `async with` it.

    Args:
        state: the state.
        seconds: interval between reads.
        metrics: count failures.
    """

    def __init__(self, state: State, seconds: float, metrics: Metrics) -> None:
        self._changes: dict[str, tuple[int, ItemChange]] = {}
        self._erased: dict[str, int] = {}
        self._state = state
        self._seconds = seconds
        self._metrics = metrics
        self._failures = metrics.state_failures.labels("notes")
        self._number = 0
        self._one_at_a_time = asyncio.Lock()
        self._listeners: list[Listener] = []
        self._following: BackgroundLoop | None = None

    async def __aenter__(self) -> "ChangeFeed":
        """Read all changes and start to follow; a state that fails is read again later."""
        with contextlib.suppress(StateError):
            await self.sync()
        self._following = BackgroundLoop("change_feed", self._follow, self._metrics, self._seconds)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop following."""
        if self._following is not None:
            await self._following.close()
        async with self.paused():
            pass  # wait for the current read

    def listen(self, listener: Listener) -> None:
        """Call a listener with changed item_ids and erased user_ids."""
        self._listeners.append(listener)

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Take in no changes inside of the context."""
        async with self._one_at_a_time:
            yield

    @property
    def changed(self) -> Collection[str]:
        """The item_ids with changes."""
        return self._changes.keys()

    def changes(self, bundle: Bundle) -> dict[str, ItemChange]:
        """The newest change of each item that is not in a bundle yet, by item_id."""
        taken = bundle.manifest.taken.notes
        return {name: change for name, (number, change) in self._changes.items() if number > taken}

    def in_bundle(self, user_id: str, bundle: Bundle) -> bool:
        """True if a bundle was made after a user's erasure, so that its row may be used."""
        return self._erased.get(user_id, math.inf) <= bundle.manifest.taken.notes

    def erased(self, user_id: str) -> bool:
        """True if a user was ever erased."""
        return user_id in self._erased

    async def sync(self) -> None:
        """Take in new changes, to the end even if the caller is cancelled.

        Raises:
            StateError: the state cannot be read.
        """
        # Shielded: cancelling the caller must not leave changes half taken in.
        await asyncio.shield(self._sync())

    async def _sync(self) -> None:
        async with self._one_at_a_time:
            changes = await self._state.changes(self._number)
            if changes.new:
                await self._take_in(changes)

    async def _take_in(self, changes: Changes) -> None:
        items: set[str] = set()
        users: set[str] = set()
        if changes.lost:
            items.update(self._changes)
            self._changes.clear()
            self._erased.clear()
        for change in changes.new:
            if change.kind == "user":
                self._erased[change.name] = change.number
                users.add(change.name)
                continue
            try:
                self._changes[change.name] = change.number, _item_change(change)
            except (ValueError, KeyError, TypeError) as error:
                LOGGER.error("note_unreadable", number=change.number, error=repr(error))
                self._metrics.state_failures.labels("change").inc()
                continue
            items.add(change.name)
        for listener in self._listeners:
            await listener(items, users)
        self._number = changes.new[-1].number

    async def _follow(self) -> None:
        try:
            await self._sync()
        except StateError:
            self._failures.inc()


def _item_change(change: Change) -> ItemChange:
    if change.kind != "item":
        raise ValueError(f"unknown kind {change.kind!r:.40}")
    return unpack_change(change.name, change.body)
