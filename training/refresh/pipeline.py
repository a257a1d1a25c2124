"""Refresh pipeline: archive new events, build the next bundle, compare and publish it."""

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bundle.csr import Csr
from bundle.errors import InputError
from bundle.format.manifest import Taken
from bundle.format.reader import Bundle
from bundle.format.writer import BundleContents, EncoderSample, write_bundle
from bundle.ids import IdMap
from bundle.onnx_runtime import CPU, CUDA, DEFAULT_PROVIDERS
from bundle.search.options import RankingOptions
from bundle.sorted_sets import unique
from bundle.store.store import BundleStore
from training.evaluation.heldout import HeldOut
from training.gate.publish import PublicationGate, publish_through_gate
from training.gate.report import Report
from training.refresh.archive import Archive
from training.refresh.changes import read_service_changes
from training.refresh.encoding.spill import BLOCK_USERS, Spill, spill_events
from training.refresh.encoding.users import NextUsers, next_users
from training.refresh.event_source import EventSource
from training.refresh.item_files import changes_from_files
from training.refresh.items import NextItems, next_items
from training.refresh.preload import Preload


@dataclass(frozen=True)
class RefreshOptions:
    """Options of a refresh.

    Attributes:
        items: table or folder of items, see `changes_from_files`; None for none.
        threads: threads of ONNX Runtime in this process.
        processes: number of processes that encode users, on one thread each; with 1, or on a GPU,
            this process does.
        device: device of the encoders; `auto` is a GPU if ONNX Runtime can use one.
        gate_options: options of each ranking that the gate compares; None for none.
        index_budget: bytes that the indexes may have; None for the live bundle's.
        forced: reason to publish even if the gate refuses; None for none.
        keep_seconds: how long archived events stay in the service's log, in seconds.
        preload: writes the candidate's vectors into Redis; None without Redis.
        say: called with a line about each step.
    """

    items: Path | None = None
    threads: int = 1
    processes: int = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    gate_options: RankingOptions | None = None
    index_budget: int | None = None
    forced: str | None = None
    keep_seconds: float = 7 * 24 * 3600
    preload: Preload | None = None
    say: Callable[[str], None] = print


@dataclass(frozen=True)
class Outcome:
    """Result of a refresh.

    Attributes:
        version: the published version; None for a dry run or if there was nothing new.
        report: report of the candidate; None if there was nothing new.
    """

    version: str | None
    report: Report | None


def refresh_bundle(
    store: BundleStore, sources: list[EventSource], options: RefreshOptions, dry_run: bool = False
) -> Outcome:
    """Build the next bundle from new events and changes, and publish it if the gate accepts it.

    An interrupted refresh leaves the store unchanged or with the next bundle; the next run resumes.

    Args:
        store: a store with a live bundle.
        sources: event sources; at most one is a log of the service.
        options: options.
        dry_run: only compare; write nothing into the store or the sources.

    Returns:
        The version and the report, if there was anything new.

    Raises:
        GateError: the candidate is worse than the live bundle.
        StoreError: nothing is published yet, or another process refreshes or publishes.
        SourceError, InputError: a source or file cannot be read; nothing is new, and a log that a
            service should keep does not exist.
    """
    with ExitStack() as stack:
        scratch: Path | None = None
        if dry_run:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        else:
            stack.enter_context(store.alone("refresh"))
        live = load_live(store, options)
        for note in [note for source in sources for note in source.notes()]:
            options.say(f"note: {note}")
        known = read_service_changes(sources, live, all_items=options.items is not None)
        archive = Archive(store.storage, scratch)
        if not dry_run:
            archive.forget(known.erased)
        count = archive.take_in(
            sources, known.number, known.ever_erased, live.manifest.taken.events
        )
        parts = archive.parts()
        newest = parts[-1].number if parts else live.manifest.taken.events
        taken = Taken(events=newest, notes=known.number)
        served = items = next_items(live, known.changes)
        if options.items is not None:
            notes: list[str] = []
            from_files = changes_from_files(options.items, live, known, notes)
            items = next_items(live, [*from_files, *known.changes])
            items.notes[:0] = notes
        options.say(f"{count:,} new events, {items.changed:,} changed items")
        for note in items.notes:
            options.say(f"note: {note}")
        if taken == live.manifest.taken and not items.changed:
            for source in sources:
                source.check_kept()
            return Outcome(None, None)
        work = _work_folder(store, scratch, live, taken, items)
        spill_folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=work)))
        spill = spill_events(live, items, archive, parts, known.erased, spill_folder)
        started = time.monotonic()
        on_cpu = live.user_encoder.provider == CPU
        users = next_users(live, items, spill, work, options.processes if on_cpu else 1)
        seconds = time.monotonic() - started
        options.say(
            f"{len(users.encoded):,} of {spill.n_users:,} users encoded, {seconds:.0f} s, "
            f"by {live.user_encoder.provider}"
        )
        contents = _contents(live, items, spill, users, taken)
        budget = options.index_budget
        if budget is None:
            budget = live.manifest.index.budget
        if budget is not None:
            contents = replace(contents, index_budget=budget)
        gate = PublicationGate(
            store,
            live,
            _held_out(users, contents),
            contents.report["refresh"],
            overlay=served.overlay,
            options=options.gate_options,
            forced=options.forced,
        )
        preload = options.preload.load if options.preload else None
        started = time.monotonic()
        if dry_run:
            version = None
            candidate = work / "candidate"
            candidate.mkdir()
            write_bundle(candidate, contents)
            gate.compare(Bundle.load(candidate, options.threads))
        else:
            version = publish_through_gate(store, contents, gate, preload)
            shutil.rmtree(work)
            _trim(sources, archive, taken, options.keep_seconds)
        options.say(f"compared and written in {time.monotonic() - started:.0f} s")
        return Outcome(version, gate.report())


def load_live(store: BundleStore, options: RefreshOptions) -> Bundle:
    """The live bundle, with encoders on the chosen device; InputError if it does not exist."""
    providers = (CPU,) if options.device == "cpu" else DEFAULT_PROVIDERS
    live = store.load(threads=options.threads, providers=providers)
    if options.device == "cuda" and live.user_encoder.provider != CUDA:
        raise InputError("--device cuda: ONNX Runtime finds no CUDA device")
    return live


def _work_folder(
    store: BundleStore, scratch: Path | None, live: Bundle, taken: Taken, items: NextItems
) -> Path:
    """Folder for the blocks of this refresh, named by a hash of the inputs.

    An interrupted run finds its finished blocks there; folders of other inputs are removed.
    """
    digest = hashlib.sha256(f"{live.version} {taken} {BLOCK_USERS}".encode())
    digest.update(json.dumps(items.ids.ids).encode())
    digest.update(items.vectors.data)
    root = scratch / "work" if scratch else store.work_folder / "refresh"
    work = root / digest.hexdigest()[:16]
    for other in root.iterdir() if root.exists() else ():
        if other != work:
            shutil.rmtree(other)
    work.mkdir(parents=True, exist_ok=True)
    for leftover in work.glob("tmp*"):
        shutil.rmtree(leftover)
    return work


def _contents(
    live: Bundle, items: NextItems, spill: Spill, users: NextUsers, taken: Taken
) -> BundleContents:
    summary = {
        "new_events": spill.count,
        "events_with_unknown_items": spill.unknown,
        "new_users": len(spill.new),
        "erased_users": len(live.users) - len(spill.kept),
        "encoded_users": len(users.encoded),
        "new_items": len(items.new),
        "gone_items": int((items.row_of < 0).sum()),
    }
    ids = live.users.take(spill.kept)
    return BundleContents(
        users=IdMap([*ids, *spill.new], "user_id"),
        items=items.ids,
        user_vectors=users.vectors,
        item_vectors=items.vectors,
        parts=live.manifest.parts,
        item_parts=items.parts,
        modalities=live.manifest.modalities,
        seen=users.seen,
        seen_weights=users.weights,
        item_table=items.table,
        user_encoder=(live.directory / "user_encoder.onnx").read_bytes(),
        item_encoder=(live.directory / "item_encoder.onnx").read_bytes(),
        encoder_sample=EncoderSample.load(live.directory / "encoder_sample.npz"),
        config=live.config,
        report={**live.report, "refresh": summary},
        data_fingerprint=live.manifest.data_fingerprint,
        parent_version=live.version,
        taken=taken,
    )


def _held_out(users: NextUsers, contents: BundleContents) -> HeldOut:
    """Held-out interactions of the refresh, with the users' histories before."""
    n_items = len(contents.items)
    asked = unique(users.relevant // n_items)

    def rows(keys: np.ndarray[Any, np.dtype[np.int64]]) -> Csr:
        places = np.searchsorted(asked, keys // n_items)
        return Csr.from_pairs(places, keys % n_items, len(asked), n_items)

    return HeldOut(
        contents.users.take(asked),
        contents.items,
        rows(users.before.keys),
        users.before.weights,
        rows(users.relevant),
    )


def _trim(sources: list[EventSource], archive: Archive, taken: Taken, keep: float) -> None:
    """Delete events from the logs that the live bundle contains and that are old enough."""
    old = [
        part
        for part in archive.parts()
        if part.number <= taken.events and part.made_at <= time.time() - keep
    ]
    positions = {place: at for part in old for place, at in part.positions.items()}
    for source in sources:
        source.trim(positions)
