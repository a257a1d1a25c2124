"""What a store asks before it publishes."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from bundle.contents import BundleContents
from bundle.errors import GateError, StoreError
from bundle.loading import Bundle
from bundle.manifest import Verdict
from bundle.overlay import Overlay
from bundle.store import BundleStore
from training.gate import Comparison, compare
from training.heldout import HeldOut
from training.report import Report


class Judge:
    """Compares a candidate with the live bundle; `BundleStore.publish` asks it.

    Args:
        store: whose live bundle must still be the same.
        live: it; None for the first bundle of a store.
        held_out: what both are asked.
        summary: what went into the candidate, for the report.
        overlay: changes of items on top of the live bundle.
        onnx: see `compare`.
        forced: why to publish even a worse one.
    """

    def __init__(
        self,
        store: BundleStore,
        live: Bundle | None,
        held_out: HeldOut,
        summary: dict[str, Any],
        *,
        overlay: Overlay | None = None,
        onnx: dict[str, float] | None = None,
        forced: str | None = None,
    ) -> None:
        self._store, self._live, self._held_out = store, live, held_out
        self._summary, self._overlay, self._onnx = summary, overlay, onnx
        self._forced = forced
        self._report: Report | None = None

    def __call__(self, candidate: Bundle) -> Verdict:
        if self._store.live_version() != (self._live and self._live.version):
            raise StoreError("another bundle went live meanwhile; try again")
        return self.look(candidate).verdict(self._forced)

    def look(self, candidate: Bundle) -> Comparison:
        """Compare, and keep the report."""
        found = compare(candidate, self._live, self._held_out, self._overlay, self._onnx)
        self._report = Report.of(candidate, self._live, found, self._summary)
        return found

    def report(self) -> Report:
        """Of the candidate that was looked at."""
        assert self._report is not None
        return self._report


def judged_publish(
    store: BundleStore,
    contents: BundleContents,
    judge: Judge,
    prepare: Callable[[Bundle], None] | None = None,
) -> str:
    """Publish what the judge lets pass, and leave its report in the store either way.

    Raises:
        GateError: it did not.
    """
    try:
        version = store.publish(contents, judge, prepare)
    except GateError:
        judge.report().write(store.storage, f"refused-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
        raise
    judge.report().write(store.storage, version)
    return version
