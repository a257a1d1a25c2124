"""Running the application: the socket, the workers, the end."""

import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType

from fastapi import FastAPI
from uvicorn import Config, Server
from uvicorn.supervisors import Multiprocess

from bundle.errors import DRepMRecError
from bundle.loading import Bundle
from bundle.store import BundleStore
from service.app import create_app
from service.cpu import thread_budget
from service.logs import LOGGER, configure_logs
from service.metrics import MULTIPROC_DIR
from service.settings import Settings

BACKLOG = 2048


class ServerError(DRepMRecError):
    """The server cannot be started as it was asked to be."""


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is in work.

    Raises:
        StoreError, BundleError: there is nothing whole to serve.
        ServerError: the address cannot be listened on.
    """
    configure_logs(settings.log_level)
    signal.signal(signal.SIGTERM, _leave)
    with _bind(settings.host, settings.port) as listening:
        # Opened before anything is served, so that what is wrong with it is one sentence for
        # whoever starts the service. Workers open it again: each has its own index, the vectors
        # are shared.
        bundle = BundleStore(settings.store).load(
            threads=settings.threads or thread_budget(settings.workers)
        )
        host, port = listening.getsockname()[:2]
        LOGGER.info("listening", host=host, port=port, workers=settings.workers)
        if settings.workers == 1:
            Server(_config(settings, bundle)).run(sockets=[listening])
            return
        del bundle
        with _metrics_directory():
            Multiprocess(_config(settings), sockets=[listening]).run()


def worker_app(settings: Settings, bundle: Bundle | None = None) -> FastAPI:
    """The application in a process of its own, which has to set up its logs."""
    configure_logs(settings.log_level)
    return create_app(settings, bundle)


def _config(settings: Settings, bundle: Bundle | None = None) -> Config:
    return Config(
        partial(worker_app, settings, bundle),
        factory=True,
        workers=settings.workers,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=settings.drain_seconds,
    )


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise ServerError(f"{host}:{port}: cannot listen there ({error.strerror})") from error
    listening.set_inheritable(True)
    return listening


@contextmanager
def _metrics_directory() -> Iterator[None]:
    directory = tempfile.mkdtemp(prefix="drepmrec-metrics-")
    os.environ[MULTIPROC_DIR] = directory
    try:
        yield
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _leave(_: int, __: FrameType | None) -> None:
    """SIGTERM before the server runs, or when uvicorn repeats it after it has drained."""
    raise SystemExit(0)
