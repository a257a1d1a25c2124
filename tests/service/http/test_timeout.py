"""Requests that are cancelled by others or by the time limit."""

import asyncio
from typing import Any

import pytest

from service.http.middleware.timeout import RequestTimeout


def test_a_cancellation_from_outside_is_passed_on() -> None:
    async def run() -> None:
        sent: list[Any] = []
        started = asyncio.Event()

        async def forever(*_: Any) -> None:
            started.set()
            await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": "/x", "headers": []}
        task = asyncio.create_task(RequestTimeout(forever, 3600)(scope, forever, send))  # type: ignore[arg-type]
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not sent
        await RequestTimeout(forever, 0.1)(scope, forever, send)  # type: ignore[arg-type]
        assert [message.get("status") for message in sent] == [504, None]

    asyncio.run(run())
