"""Waiting for a condition instead of for a time."""

import inspect
import time
from asyncio import sleep
from collections.abc import Callable

DEADLINE = 120.0
"""Seconds until a wait has failed, in all tests. It only has to be longer than anything that a
machine with ten times as many processes as cores takes: a condition that holds ends the wait."""
POLL = 0.02
"""Seconds between two looks."""


def wait_until(condition: Callable[..., object], what: str, poll: float = POLL) -> None:
    """Return as soon as a condition holds; fail, naming it, when DEADLINE has passed."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"after {DEADLINE:g} s there was not: {what}"
        time.sleep(poll)


async def until(condition: Callable[..., object], what: str) -> None:
    """`wait_until` in a coroutine; the condition may be a coroutine function."""
    end = time.monotonic() + DEADLINE
    while True:
        found = condition()
        if await found if inspect.isawaitable(found) else found:
            return
        assert time.monotonic() < end, f"after {DEADLINE:g} s there was not: {what}"
        await sleep(POLL)
