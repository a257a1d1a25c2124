"""Dependencies of endpoints: the runtime, the engine, ids from paths, limits, state errors."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import Depends, Path, Request

from service.engine.beside import BundleBeside
from service.engine.engine import Engine
from service.engine.reload import Reloader
from service.engine.runtime import Runtime
from service.errors import StateUnavailableError
from service.http.parameters import check_path_id
from service.limiter import HAS_PLACE
from service.observability.logs import LOGGER
from service.state.base import NoStateError, StateError

ANY_CHARACTERS = "any characters, percent-encoded; `/info` has the maximum length"
UserId = Annotated[str, Path(description=ANY_CHARACTERS, examples=["u-1042"])]
ItemId = Annotated[str, Path(description=ANY_CHARACTERS, examples=["i-77"])]


async def current_runtime(request: Request) -> Runtime:
    """The runtime of the application."""
    runtime: Runtime = request.app.state.runtime
    return runtime


async def current_engine(request: Request) -> Engine:
    """The engine that answers the request; the reference is read here, once."""
    return (await current_runtime(request)).engine


async def current_reloader(request: Request) -> Reloader:
    """The reloader of the application."""
    reloader: Reloader = request.app.state.reloader
    return reloader


async def current_beside(request: Request) -> BundleBeside:
    """The bundle beside the served one."""
    beside: BundleBeside = request.app.state.beside
    return beside


CurrentRuntime = Annotated[Runtime, Depends(current_runtime)]
CurrentEngine = Annotated[Engine, Depends(current_engine)]
CurrentReloader = Annotated[Reloader, Depends(current_reloader)]
CurrentBeside = Annotated[BundleBeside, Depends(current_beside)]


async def _limited(request: Request, runtime: CurrentRuntime) -> AsyncIterator[None]:
    if HAS_PLACE in request.scope:
        yield
        return
    async with runtime.limiter:
        yield


Limited = Depends(_limited, scope="function")
"""Counts the endpoint's work, without the time to send its response, as a request in progress."""


async def _user_id(user_id: UserId, request: Request, runtime: CurrentRuntime) -> str:
    check_path_id(request.scope, user_id, "user_id", runtime.settings.max_id_length)
    return user_id


async def _item_id(item_id: ItemId, request: Request, runtime: CurrentRuntime) -> str:
    check_path_id(request.scope, item_id, "item_id", runtime.settings.max_id_length)
    return item_id


UserIdPath = Annotated[str, Depends(_user_id)]
ItemIdPath = Annotated[str, Depends(_item_id)]


@contextmanager
def state_errors() -> Iterator[None]:
    """Report failures of the state to the client as 503, and their reasons in the log.

    The reasons have paths of the server and the words of its database.
    """
    try:
        yield
    except NoStateError as error:
        raise StateUnavailableError(str(error)) from error
    except StateError as error:
        LOGGER.warning("state_failed", reason=str(error))
        raise StateUnavailableError(
            "what the service stores could not be written or read; a write may have happened"
        ) from error
