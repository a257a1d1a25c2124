"""No request takes longer than the service is ready to wait for it."""

import asyncio
from time import monotonic
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import BodyTimeoutError, TimedOutError, error_response

ADMIN_SECONDS = 600.0
"""For `/admin`: loading a bundle takes its time."""
TICK = 0.25


class Deadline:
    """ASGI middleware: 504 for what is not answered in time, 408 if its body has not come.

    The work is cancelled where it waits. It gives its permit back, and what others wait for with
    it, a look-up in Redis or a batch of searches, goes on for them. Once an answer has begun, it
    has all the time that its reader takes.

    One timer looks after all requests, up to TICK seconds late: 2 µs a request, where
    `asyncio.timeout` takes 6.

    Args:
        app: what is behind it.
        seconds: from the request's head to the beginning of its answer.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app = app
        self._seconds = seconds
        self._tick = min(TICK, seconds / 4)
        self._due: dict[asyncio.Task[Any], float] = {}
        self._late: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; other kinds of scope pass."""
        task = asyncio.current_task()
        if scope["type"] != "http" or task is None:
            await self._app(scope, receive, send)
            return
        reading = False

        async def receive_watched() -> Message:
            nonlocal reading
            reading = True
            message = await receive()
            reading = False
            return message

        async def send_in_time(message: Message) -> None:
            self._due.pop(task, None)
            await send(message)

        seconds = ADMIN_SECONDS if scope["path"].startswith("/admin/") else self._seconds
        self._due[task] = monotonic() + seconds
        if self._timer is None:
            self._look_later()
        try:
            await self._app(scope, receive_watched, send_in_time)
        except asyncio.CancelledError:
            if task not in self._late or task.uncancel():  # somebody else wants it to end
                raise
            late = (
                BodyTimeoutError(f"the body did not come within {seconds:g} s")
                if reading
                else TimedOutError(f"this took longer than {seconds:g} s")
            )
            await error_response(late)(scope, receive, send)
        finally:
            self._due.pop(task, None)
            self._late.discard(task)

    def _look_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._tick, self._look)

    def _look(self) -> None:
        self._timer = None
        now = monotonic()
        for task in [task for task, due in self._due.items() if due < now]:
            del self._due[task]
            self._late.add(task)
            task.cancel()
        if self._due:
            self._look_later()
