"""`refresh`."""

import signal
import threading
from pathlib import Path
from typing import Annotated, Literal

import typer

from bundle.errors import DRepMRecError, InputError
from bundle.store import BundleStore
from training.commands.options import Cache, Force, Store
from training.refresh.drops import open_source
from training.refresh.preload import Preload
from training.refresh.redis_client import RedisOptions, open_redis
from training.refresh.round import RefreshOptions
from training.refresh.round import refresh as refresh_once
from training.refresh.sources import EventSource

STATE_FILE = "state.sqlite3"
LONGEST_WAIT = 3600.0
"""Seconds between attempts of a refresh that fails again and again, unless --every is longer."""


def refresh(
    store: Store,
    events: Annotated[
        list[str] | None,
        typer.Option(
            help="Where events are: redis://…, a SQLite file, or a file or folder of Parquet, CSV "
            "or JSON lines; may be repeated. [that Redis, or STORE/state.sqlite3]",
        ),
    ] = None,
    items: Annotated[
        Path | None,
        typer.Option(help="Table of items, or folder with items.* and <modality>_feat.*."),
    ] = None,
    every: Annotated[
        float | None, typer.Option(min=1, help="Refresh again and again, every so many seconds.")
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Refresh once; this is the default.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the comparison; write nothing.")
    ] = False,
    force: Force = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of ONNX Runtime.")] = 1,
    device: Annotated[
        Literal["auto", "cpu", "cuda"],
        typer.Option(help="Where vectors are made; auto: on a GPU that ONNX Runtime can use."),
    ] = "auto",
    keep_events: Annotated[
        float, typer.Option(min=0, help="Days that events stay in the service's log.")
    ] = 7.0,
    redis_url: Annotated[
        str | None,
        typer.Option(
            envvar="DREPMREC_REDIS_URL", help="The service's Redis, which gets vectors, too."
        ),
    ] = None,
    redis_namespace: Annotated[
        str, typer.Option(envvar="DREPMREC_REDIS_NAMESPACE", help="That of the service.")
    ] = "default",
    redis_cluster: Annotated[
        bool, typer.Option("--redis-cluster", envvar="DREPMREC_REDIS_CLUSTER", help="It is one.")
    ] = False,
    redis_sentinel: Annotated[
        str | None,
        typer.Option(
            envvar="DREPMREC_REDIS_SENTINEL", help="Its master's name, if the URL is a Sentinel's."
        ),
    ] = None,
    preload: Annotated[
        int, typer.Option(min=0, help="Users whose vectors are written to Redis; 0: none.")
    ] = 100_000,
    vector_ttl: Annotated[
        int, typer.Option(min=1, envvar="DREPMREC_VECTOR_TTL", help="Their life, s.")
    ] = 3600,
    cache: Cache = None,
) -> None:
    """Make the next bundle from the live one and what happened since, and publish it.

    Events, new and changed items and erased users are taken in; the model stays as it is. The
    candidate is compared with the live bundle; a worse one is not published (exit code 3).
    """
    if once and every is not None:
        raise InputError("--once and --every exclude each other")
    bundle_store = BundleStore(store, cache)
    root = bundle_store.root
    kept = isinstance(root, Path) and (root / STATE_FILE).exists()
    default = [redis_url] if redis_url else [f"{root}/{STATE_FILE}"] if kept else []
    redis = RedisOptions(redis_namespace, redis_cluster, redis_sentinel)
    sources = [open_source(source, redis) for source in events or default]
    client = open_redis(redis_url, redis) if redis_url and preload else None
    options = RefreshOptions(
        items=items,
        threads=threads,
        device=device,
        forced=force,
        keep_seconds=keep_events * 24 * 3600,
        preload=Preload(client, redis_namespace, preload, vector_ttl) if client else None,
        say=lambda line: typer.echo(line, err=True),
    )
    if every is None:
        _round(bundle_store, sources, options, dry_run)
    else:
        _loop(bundle_store, sources, options, dry_run, every)


def _round(
    store: BundleStore, sources: list[EventSource], options: RefreshOptions, dry_run: bool
) -> None:
    outcome = refresh_once(store, sources, options, dry_run)
    if outcome.report is None:
        typer.echo("nothing new")
        return
    typer.echo(outcome.report.table())
    for problem in outcome.report.comparison.problems:
        typer.echo(f"worse: {problem}")
    if outcome.version is not None:
        typer.echo(f"published {outcome.version} in {store.root}")


def _loop(
    store: BundleStore,
    sources: list[EventSource],
    options: RefreshOptions,
    dry_run: bool,
    every: float,
) -> None:
    """Rounds until SIGTERM or SIGINT; a round that fails is tried again, later each time.

    Raises:
        SystemExit: with the exit code of the last round, if it failed.
    """
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    failures, code = 0, 0
    while not stopped.is_set():
        wait = every
        try:
            _round(store, sources, options, dry_run)
            failures, code = 0, 0
        except (DRepMRecError, OSError) as error:
            code = error.exit_code if isinstance(error, DRepMRecError) else 1
            wait = max(every, min(every * 2**failures, LONGEST_WAIT))
            failures += 1
            typer.echo(f"error: {error}; again in {wait:.0f} s", err=True)
        stopped.wait(wait)
    if code:
        raise SystemExit(code)
