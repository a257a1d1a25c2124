"""One refresh: what happened since the live bundle was made becomes the next one."""

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bundle.contents import BundleContents, EncoderSample, write_bundle
from bundle.csr import Csr
from bundle.ids import IdMap
from bundle.loading import Bundle
from bundle.manifest import Taken
from bundle.store import BundleStore
from training.heldout import HeldOut
from training.judge import Judge, judged_publish
from training.refresh.archive import Archive
from training.refresh.device import Device, encoders_on
from training.refresh.items import NextItems, next_items, read_changes
from training.refresh.noted import read_notes
from training.refresh.preload import Preload
from training.refresh.sources import EventSource
from training.refresh.spill import BLOCK_USERS, Spill, spill_events
from training.refresh.users import NextUsers, next_users
from training.report import Report


@dataclass(frozen=True)
class RefreshOptions:
    """What a refresh is told.

    Attributes:
        items: a table or folder of items, see `read_changes`.
        threads: of ONNX Runtime.
        device: of the encoders.
        forced: why to publish even if the gate refuses.
        keep_seconds: how long events stay in the service's log after they are in the archive.
        preload: writes vectors of the candidate into Redis; None where there is none.
        say: gets a line about each step.
    """

    items: Path | None = None
    threads: int = 1
    device: Device = "auto"
    forced: str | None = None
    keep_seconds: float = 7 * 24 * 3600
    preload: Preload | None = None
    say: Callable[[str], None] = print


@dataclass(frozen=True)
class Outcome:
    """What a refresh did.

    Attributes:
        version: what it published; None if there was nothing new, or it was to publish nothing.
        report: of what it made; None if there was nothing new.
    """

    version: str | None
    report: Report | None


def refresh(
    store: BundleStore, sources: list[EventSource], options: RefreshOptions, dry_run: bool = False
) -> Outcome:
    """Take in what is new, and publish the next bundle if the gate lets it pass.

    Whatever kills it, the store stays as it was or has the next bundle; the next run goes on.

    Args:
        store: with a live bundle.
        sources: of events; at most one of them has notes.
        options: see there.
        dry_run: compare only; nothing is written into the store or the sources.

    Raises:
        GateError: the candidate is worse than the live bundle.
        StoreError: nothing is published yet, or somebody else refreshes or publishes.
        SourceError, InputError: a source or file cannot be read.
    """
    with ExitStack() as stack:
        scratch: Path | None = None
        if dry_run:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        else:
            stack.enter_context(store.alone("refresh"))
        opened = store.load(threads=options.threads)
        live = encoders_on(opened, options.device, options.threads)
        known = read_notes(sources, live, all_items=options.items is not None)
        archive = Archive(store.storage, scratch)
        if not dry_run:
            archive.forget(known.erased)
        count = archive.take_in(
            sources, known.number, known.ever_erased, live.manifest.taken.events
        )
        options.say(f"{count:,} new events, {len(known.changes):,} changed items")
        parts = archive.parts()
        newest = parts[-1].number if parts else live.manifest.taken.events
        taken = Taken(events=newest, notes=known.number)
        served = items = next_items(live, known.changes)
        if options.items is not None:
            from_files = read_changes(options.items, live, known.deleted)
            items = next_items(live, [*from_files, *known.changes])
        for note in items.notes:
            options.say(f"note: {note}")
        same_items = items.table.equals(live.item_table) and not items.has_new_vector.any()
        if taken == live.manifest.taken and same_items:
            return Outcome(None, None)
        work = _work_folder(store, scratch, live, taken, items)
        spill_folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=work)))
        spill = spill_events(live, items, archive, parts, known.erased, spill_folder)
        started = time.monotonic()
        users = next_users(live, items, spill, work)
        seconds = time.monotonic() - started
        options.say(
            f"{len(users.encoded):,} of {spill.n_users:,} users encoded, {seconds:.0f} s, "
            f"by {live.user_encoder.provider}"
        )
        contents = _contents(live, items, spill, users, taken)
        judge = Judge(
            store,
            live,
            _held_out(users, contents),
            contents.report["refresh"],
            overlay=served.overlay,
            forced=options.forced,
        )
        preload = options.preload.load if options.preload else None
        started = time.monotonic()
        if dry_run:
            version = None
            candidate = work / "candidate"
            candidate.mkdir()
            write_bundle(candidate, contents)
            judge.look(Bundle.load(candidate, options.threads))
        else:
            version = judged_publish(store, contents, judge, preload)
            shutil.rmtree(work)
            _trim(sources, archive, taken, options.keep_seconds)
        options.say(f"compared and written in {time.monotonic() - started:.0f} s")
        return Outcome(version, judge.report())


def _work_folder(
    store: BundleStore, scratch: Path | None, live: Bundle, taken: Taken, items: NextItems
) -> Path:
    """Where blocks lie that a killed run has done, under the name of what they are made from."""
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
    ids = [live.users[row] for row in spill.kept.tolist()]
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
    """Keys of the next bundle's users and items, as histories of those who are asked for."""
    n_items = len(contents.items)
    asked = np.unique(users.relevant // n_items)

    def rows(keys: np.ndarray[Any, np.dtype[np.int64]]) -> Csr:
        places = np.searchsorted(asked, keys // n_items)
        return Csr.from_pairs(places, keys % n_items, len(asked), n_items)

    return HeldOut(
        [contents.users[user] for user in asked.tolist()],
        contents.items,
        rows(users.before.keys),
        users.before.weights,
        rows(users.relevant),
    )


def _trim(sources: list[EventSource], archive: Archive, taken: Taken, keep: float) -> None:
    """Forget events of the logs that a live bundle has and that may not be asked for any more."""
    old = [
        part
        for part in archive.parts()
        if part.number <= taken.events and part.made_at <= time.time() - keep
    ]
    positions = {place: at for part in old for place, at in part.positions.items()}
    for source in sources:
        source.trim(positions)
