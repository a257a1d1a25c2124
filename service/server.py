"""Running the application: the socket, the workers, the end."""

import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from ipaddress import ip_address
from types import FrameType

from fastapi import FastAPI
from uvicorn import Config, Server
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from bundle.errors import DRepMRecError
from bundle.loading import Bundle
from bundle.store import BundleStore
from service.app import create_app, other_versions
from service.cpu import thread_budget
from service.experiments import read_experiment
from service.http_protocol import BoundedHttp
from service.key_file import read_key_file
from service.local_state import LocalState
from service.logs import LOGGER, configure_logs
from service.metrics import MULTIPROC_DIR
from service.open_state import state_file
from service.settings import Settings

BACKLOG = 2048
SWITCH_SECONDS = 0.0005
"""After which a thread leaves the interpreter to another that waits for it. With Python's 5 ms, a
bundle that is being loaded would let each request wait for that long, more than once."""
HEALTHCHECK = 20
"""Seconds after which a worker that does not answer its supervisor is replaced. uvicorn's 5 are
less than the imports of a start take where CPU is short: it would kill each worker for ever."""


class ServerError(DRepMRecError):
    """The server cannot be started as it was asked to be."""


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is in work.

    Raises:
        StoreError, BundleError: there is nothing whole to serve.
        KeyFileError: the file of API keys does not fit.
        ServerError: the address cannot be listened on, or a worker died and no other could start.
    """
    configure_logs(settings.log_level)
    signal.signal(signal.SIGTERM, _leave)
    with _bind(settings.host, settings.port) as listening:
        # Opened before anything is served, so that what is wrong with it is one sentence for
        # whoever starts the service. Workers open it again: each has its own index, the vectors
        # are shared.
        threads = settings.threads or thread_budget(settings.workers)
        store = BundleStore(settings.store, settings.cache)
        bundles = [store.load(threads=threads)]
        _check(settings, store, bundles[0])
        host, port = listening.getsockname()[:2]
        LOGGER.info("listening", host=host, port=port, workers=settings.workers)
        if settings.keys is None and not ip_address(host).is_loopback:
            LOGGER.warning("open_to_everybody", host=host, advice="--keys FILE asks for API keys")
        if settings.workers == 1:
            Server(_config(settings, bundles)).run(sockets=[listening])
            return
        bundles.clear()
        with _metrics_directory():
            workers = Multiprocess(_config(settings, bundles), sockets=[listening])
            workers.run()
        if any(process.exitcode == STARTUP_FAILURE for process in workers.processes):
            raise ServerError("a worker's successor could not start; the log says why")


def _check(settings: Settings, store: BundleStore, bundle: Bundle) -> None:
    """What else is wrong shall be one sentence, too."""
    if settings.content_encoders:
        from service.content import ContentEncoders  # an extra

        ContentEncoders(settings.content_encoders, threads=1).check(bundle)
    if settings.keys is not None:
        read_key_file(settings.keys)
    if settings.otel:
        from service.tracing import Tracing  # an extra

        Tracing().close()
    experiment = read_experiment(settings.experiment) if settings.experiment else None
    for version in other_versions(settings, experiment):
        store.manifest(version)
    path = state_file(settings)
    if settings.redis_url is None and path is not None and (settings.state or path.exists()):
        LocalState(path).close()


def worker_app(settings: Settings, bundles: list[Bundle]) -> FastAPI:
    """The application, in a process that may be new and then has to set up its logs.

    Args:
        settings: the configuration.
        bundles: an open bundle, taken out and not kept; or none.
    """
    configure_logs(settings.log_level)
    sys.setswitchinterval(SWITCH_SECONDS)
    return create_app(settings, bundles.pop() if bundles else None)


def _config(settings: Settings, bundles: list[Bundle]) -> Config:
    return Config(
        partial(worker_app, settings, bundles),
        factory=True,
        workers=settings.workers,
        loop="uvloop",
        http=partial(BoundedHttp, seconds=settings.request_timeout),  # type: ignore[arg-type]
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nobody asks where a request came from
        backlog=BACKLOG,
        timeout_graceful_shutdown=settings.drain_seconds,
        timeout_worker_healthcheck=HEALTHCHECK,
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
