"""Command `refresh`."""

import json
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import typer

from bundle.errors import DRepMRecError, InputError
from bundle.events.weights import EVENT_WEIGHTS, parse_event_weights
from bundle.resources import thread_budget
from bundle.store.store import BundleStore
from training.cli.options import (
    Cache,
    Force,
    GateOptions,
    IndexMemory,
    RedisCluster,
    RedisNamespace,
    RedisSentinel,
    State,
    Store,
    existing_store,
    index_budget,
    ranking_options,
    state_file,
)
from training.refresh.event_source import EventSource
from training.refresh.pipeline import RefreshOptions, refresh_bundle
from training.refresh.preload import Preload
from training.refresh.redis_client import RedisOptions, open_redis
from training.refresh.service_logs import RedisLog, SqliteLog
from training.refresh.sources import open_source

LONGEST_WAIT = 3600.0
"""Longest wait in seconds between attempts of a refresh that keeps failing, if --every is shorter:
a store or a Redis that comes back is used again within the hour."""


def refresh(
    store: Store,
    events: Annotated[
        list[str] | None,
        typer.Option(
            help="Event source: redis://…, a SQLite file, or a file or folder of Parquet, CSV or "
            "JSON lines; repeatable. [--redis-url, --state, or STORE/state.sqlite3]",
        ),
    ] = None,
    event_weights: Annotated[
        str | None,
        typer.Option(
            envvar="DREPMREC_EVENT_WEIGHTS",
            metavar="JSON",
            help="Weight of an event of a file by its type, as the service's --event-weights. "
            f"[{json.dumps(dict(EVENT_WEIGHTS))}]",
        ),
    ] = None,
    items: Annotated[
        Path | None,
        typer.Option(
            help="Table of new and changed items, or folder with items.* and <modality>_feat.*."
        ),
    ] = None,
    every: Annotated[
        float | None,
        typer.Option(min=1, help="Refresh repeatedly, with this many seconds in between."),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Refresh once; the default.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the comparison; write nothing.")
    ] = False,
    force: Force = None,
    gate_options: GateOptions = None,
    index_memory: IndexMemory = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of ONNX Runtime.")] = 1,
    processes: Annotated[
        int,
        typer.Option(min=0, help="Processes that encode users on the CPU; 0: one for each core."),
    ] = 0,
    device: Annotated[
        Literal["auto", "cpu", "cuda"],
        typer.Option(
            help="Device that encodes users and items; auto: a GPU if ONNX Runtime can use one."
        ),
    ] = "auto",
    keep_events: Annotated[
        float,
        typer.Option(min=0, help="Days to keep archived events in the service's log as well."),
    ] = 7.0,
    state: State = None,
    redis_url: Annotated[
        str | None,
        typer.Option(
            envvar="DREPMREC_REDIS_URL",
            help="URL of the service's Redis; vectors of the new bundle are preloaded into it.",
        ),
    ] = None,
    redis_namespace: RedisNamespace = "default",
    redis_cluster: RedisCluster = False,
    redis_sentinel: RedisSentinel = None,
    preload: Annotated[
        int,
        typer.Option(min=0, help="Number of most active users to preload into Redis; 0: none."),
    ] = 100_000,
    vector_ttl: Annotated[
        int,
        typer.Option(
            min=1,
            envvar="DREPMREC_VECTOR_TTL",
            help="Seconds until a preloaded vector expires.",
        ),
    ] = 3600,
    cache: Cache = None,
) -> None:
    """Publish a bundle that includes the events and item changes since the live one.

    Adds new events, users and items, applies item changes and erasures, and encodes the affected
    users and items again; the model is not retrained. The gate compares the result with the live
    bundle and refuses a worse one (exit code 3).
    """
    if once and every is not None:
        raise InputError("--once and --every cannot be combined")
    weights = _event_weights(event_weights)
    bundle_store = existing_store(store, cache)
    redis = RedisOptions(redis_namespace, redis_cluster, redis_sentinel)
    if events:
        sources = [open_source(source, redis, weights) for source in events]
    else:
        sources = _service_log(bundle_store, redis_url, redis, state)
    client = open_redis(redis_url, redis) if redis_url and preload else None
    options = RefreshOptions(
        items=items,
        threads=threads,
        processes=processes or thread_budget(1),
        device=device,
        gate_options=ranking_options(gate_options),
        index_budget=None if index_memory is None else index_budget(index_memory),
        forced=force,
        keep_seconds=keep_events * 24 * 3600,
        preload=Preload(client, redis_namespace, preload, vector_ttl) if client else None,
        say=lambda line: typer.echo(line, err=True),
    )
    if every is None:
        _refresh_once(bundle_store, sources, options, dry_run)
    else:
        _refresh_repeatedly(bundle_store, sources, options, dry_run, every)


def _service_log(
    store: BundleStore, redis_url: str | None, redis: RedisOptions, state: Path | None
) -> list[EventSource]:
    """The log that the service keeps with the same options; none if it keeps none.

    Raises:
        InputError: the options name a log that is not there.
    """
    if redis_url:
        return [RedisLog(redis_url, redis)]
    path = state_file(store, state)
    return [SqliteLog(path)] if path else []


def _event_weights(text: str | None) -> Mapping[str, float]:
    try:
        return EVENT_WEIGHTS if text is None else parse_event_weights(text)
    except InputError as error:
        raise InputError(f"--event-weights: {error}") from error


def _refresh_once(
    store: BundleStore, sources: list[EventSource], options: RefreshOptions, dry_run: bool
) -> None:
    outcome = refresh_bundle(store, sources, options, dry_run)
    if outcome.report is None:
        typer.echo("nothing new")
        return
    typer.echo(outcome.report.table())
    for problem in outcome.report.comparison.problems:
        typer.echo(f"worse: {problem}")
    if outcome.version is not None:
        typer.echo(f"published {outcome.version} in {store.root}")


def _refresh_repeatedly(
    store: BundleStore,
    sources: list[EventSource],
    options: RefreshOptions,
    dry_run: bool,
    every: float,
) -> None:
    """Refresh repeatedly until SIGTERM or SIGINT, with longer waits after failures.

    Raises:
        SystemExit: with the exit code of the last refresh, if it failed.
    """
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    failures, code = 0, 0
    while not stopped.is_set():
        wait = every
        try:
            _refresh_once(store, sources, options, dry_run)
            failures, code = 0, 0
        except (DRepMRecError, OSError) as error:
            code = error.exit_code if isinstance(error, DRepMRecError) else 1
            wait = max(every, min(every * 2**failures, LONGEST_WAIT))
            failures += 1
            typer.echo(f"error: {error}; next attempt in {wait:.0f} s", err=True)
        stopped.wait(wait)
    if code:
        raise SystemExit(code)
