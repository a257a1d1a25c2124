"""Request timeouts: 408 for a slow body, 504 for slow work."""

import asyncio
from time import monotonic
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import BodyTimeoutError, TimedOutError
from service.http.error_handlers import error_response

ADMIN_SECONDS = 600.0
"""Timeout of `/admin`, in seconds: loading a large bundle takes minutes."""
TICK = 0.25
"""Maximum interval of the timer, in seconds; a timeout fires at most this late."""


class RequestTimeout:
    """ASGI middleware: 504 if a response does not start in time, 408 if its body has not arrived.

    The request's task is cancelled where it waits, so it leaves the concurrency limiter. Work that
    other requests share, such as a look-up in Redis or a batch of searches, continues for them. A
    response that has started is not limited.

    One timer serves all requests, up to TICK seconds late: 2 µs a request, where `asyncio.timeout`
    takes 6.

    Args:
        app: the next layer.
        seconds: from the request's head to the start of its response.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app = app
        self._seconds = seconds
        self._tick = min(TICK, seconds / 4)
        self._due: dict[asyncio.Task[Any], float] = {}
        self._late: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; other kinds of scope are passed on."""
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
            self._schedule()
        try:
            await self._app(scope, receive_watched, send_in_time)
        except asyncio.CancelledError:
            if task not in self._late or task.uncancel():  # cancelled by something else, too
                raise
            late = (
                BodyTimeoutError(f"the body did not arrive within {seconds:g} s")
                if reading
                else TimedOutError(f"the request took longer than {seconds:g} s")
            )
            await error_response(late)(scope, receive, send)
        finally:
            self._due.pop(task, None)
            self._late.discard(task)

    def _schedule(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._tick, self._cancel_late)

    def _cancel_late(self) -> None:
        self._timer = None
        now = monotonic()
        for task in [task for task, due in self._due.items() if due < now]:
            del self._due[task]
            self._late.add(task)
            task.cancel()
        if self._due:
            self._schedule()
