"""The server: listening socket, worker processes, shutdown."""

import os
import resource
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from ipaddress import ip_address
from time import monotonic
from types import FrameType

from fastapi import FastAPI
from uvicorn import Config, Server
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process

from bundle.errors import DRepMRecError
from bundle.format.reader import Bundle
from bundle.resources import thread_budget
from bundle.store.store import BundleStore
from service.app import create_app
from service.http.admission import AdmittedHttp
from service.http.listener import BoundedLoop, ConnectionLimit
from service.http.unread import UnreadResponses
from service.lifespan import check_parts
from service.observability.logs import LOGGER, configure_logs
from service.observability.metrics import MULTIPROC_DIR
from service.settings import Settings

BACKLOG = 2048
"""Maximum number of connections that wait to be accepted."""
FEW_FILES = BACKLOG
"""Number of open files of a process below which the start warns: they are fewer than connections
may be open or wait."""
SWITCH_SECONDS = 0.0005
"""Time after which a thread yields the interpreter to a waiting one, in seconds. With Python's
default of 5 ms, loading a bundle would delay each request by that much, more than once."""
HEALTHCHECK = 20
"""Time after which a worker that does not answer its supervisor is replaced, in seconds. The
default of 5 s is less than the imports take on a slow CPU: workers would be killed for ever."""


RETRY_SECONDS = 5.0
"""Time after which a worker that could not start is tried again, in seconds."""


class ServerError(DRepMRecError):
    """The server cannot start with this configuration."""


class Workers(Multiprocess):
    """Supervisor of the worker processes.

    A worker that cannot start is tried again while others are there: they go on with the bundle
    that they have.
    """

    def __init__(self, config: Config, sockets: list[socket.socket]) -> None:
        super().__init__(config, sockets)
        self._retry_at = 0.0

    def keep_subprocess_alive(self) -> None:
        """Replace workers that died or hang; end if the last one could not start."""
        if self.should_exit.is_set():
            return
        for process in self.processes[:]:
            if process.is_alive(self.config.timeout_worker_healthcheck):
                continue
            process.kill()  # it may hang
            process.join()
            if process.exitcode != STARTUP_FAILURE:
                LOGGER.error("worker_died", pid=process.pid, code=process.exitcode)
            elif len(self.processes) == 1:
                self.should_exit.set()
                return
            else:
                LOGGER.error("worker_missing", pid=process.pid, retry_seconds=RETRY_SECONDS)
                self._retry_at = monotonic() + RETRY_SECONDS
            self.processes.remove(process)
        if self.processes and monotonic() < self._retry_at:
            return
        while len(self.processes) < self.processes_num:
            self.processes.append(Process(self.config, self.sockets))
            self.processes[-1].start()

    def handle_hup(self) -> None:
        """End, as a service with one worker does."""
        self.should_exit.set()

    def terminate_all(self) -> None:
        """Tell the workers to finish, and take no more connections.

        The kernel takes connections for as long as one process holds the socket: without closing it
        here, they would wait for workers that no longer accept any, and be reset at the end.
        """
        for listening in self.sockets:
            listening.close()
        super().terminate_all()


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then finish the requests in progress.

    Raises:
        StoreError, BundleError: there is no whole bundle to serve.
        KeyFileError: the file of API keys is invalid.
        ServerError: the address cannot be used, or no worker could start.
    """
    configure_logs(settings.log_level)
    signal.signal(signal.SIGTERM, _leave)
    # A terminal that is closed ends the service like SIGTERM, which uvicorn takes over.
    signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
    with _bind(settings.host, settings.port) as listening:
        # Loaded before anything is served, so that an error is one sentence on stderr. Workers
        # load it again: each has its own index, the mapped vectors are shared.
        threads = settings.threads or thread_budget(settings.workers)
        store = BundleStore(settings.store, settings.cache)
        bundles = [store.load(threads=threads)]
        check_parts(settings, store, bundles[0])
        host, port = listening.getsockname()[:2]
        LOGGER.info("listening", host=host, port=port, workers=settings.workers)
        if settings.keys is None and not ip_address(host).is_loopback:
            LOGGER.warning("open_to_everybody", host=host, advice="--keys FILE asks for API keys")
        files = _raise_open_files()
        if files < FEW_FILES:
            LOGGER.warning("few_open_files", limit=files, advice="connections above it wait")
        if settings.workers == 1:
            Server(_config(settings, bundles)).run(sockets=[listening])
            return
        bundles.clear()
        with _metrics_directory():
            workers = Workers(_config(settings, bundles), sockets=[listening])
            workers.run()
        if any(process.exitcode == STARTUP_FAILURE for process in workers.processes):
            raise ServerError("no worker could start; the log has the reason")


def worker_app(settings: Settings, bundles: list[Bundle]) -> FastAPI:
    """The application in a worker process, whose logs have to be configured first.

    Args:
        settings: the configuration.
        bundles: an open bundle, which is taken out and not kept; or none.
    """
    configure_logs(settings.log_level)
    if settings.workers > 1:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the supervisor gets it, too, and ends them
    sys.setswitchinterval(SWITCH_SECONDS)
    return create_app(settings, bundles.pop() if bundles else None)


def _config(settings: Settings, bundles: list[Bundle]) -> Config:
    limit = ConnectionLimit(settings.max_connections)
    return Config(
        partial(worker_app, settings, bundles),
        factory=True,
        workers=settings.workers,
        loop=partial(BoundedLoop, limit),  # type: ignore[arg-type]
        http=partial(  # type: ignore[arg-type]
            AdmittedHttp,
            seconds=settings.request_timeout,
            unread=UnreadResponses(),
            limit=limit,
            heads={},
        ),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # the client's address is not used
        backlog=BACKLOG,
        timeout_graceful_shutdown=settings.drain_seconds,
        timeout_worker_healthcheck=HEALTHCHECK,
    )


def _raise_open_files() -> int:
    """The limit of open files of this process and its workers, raised as far as it may be."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # a hard limit that the kernel's own is below
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise ServerError(
            f"{host}:{port}: cannot listen on this address ({error.strerror})"
        ) from error
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
    """Exit on a SIGTERM before the server runs, or when uvicorn repeats it after draining."""
    raise SystemExit(0)
