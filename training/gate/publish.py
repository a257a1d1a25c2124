"""Publication callback: evaluates a candidate, applies the gate and writes the report."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from bundle.catalogue.catalogue import Catalogue
from bundle.catalogue.overlay import Overlay
from bundle.errors import GateError, StoreError
from bundle.format.manifest import Verdict
from bundle.format.reader import Bundle
from bundle.format.writer import BundleContents
from bundle.search.options import RankingOptions, search_options
from bundle.store.store import BundleStore
from training.evaluation.heldout import HeldOut, K
from training.gate.gate import Comparison, compare
from training.gate.report import Report


class PublicationGate:
    """Callback for `BundleStore.publish` that compares the candidate with the live bundle.

    Args:
        store: its live bundle must still be `live` when a candidate is published.
        live: the live bundle; None for the first bundle of a store.
        held_out: held-out interactions.
        summary: facts about the candidate, for the report.
        overlay: item changes that apply to the live bundle.
        onnx: see `compare`.
        options: options of each ranking that is compared; None for none.
        forced: reason to publish even if the gate refuses; None for none.

    Raises:
        OptionError: an option does not fit the live bundle.
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
        options: RankingOptions | None = None,
        forced: str | None = None,
    ) -> None:
        self._store, self._live, self._held_out = store, live, held_out
        self._summary, self._overlay, self._onnx = summary, overlay, onnx
        self._options, self._forced = options, forced
        if options is not None and live is not None:
            search_options(Catalogue(live, overlay), options, K)
        self._report: Report | None = None

    def __call__(self, candidate: Bundle) -> Verdict:
        if self._store.live_version() != (self._live and self._live.version):
            raise StoreError("another bundle was published in the meantime; try again")
        return self.compare(candidate).verdict(self._forced)

    def compare(self, candidate: Bundle) -> Comparison:
        """Compare the candidate and create the report."""
        found = compare(
            candidate, self._live, self._held_out, self._overlay, self._onnx, self._options
        )
        summary = self._summary
        if self._options is not None:
            summary = summary | {"options": self._options.model_dump(exclude_unset=True)}
        self._report = Report.of(candidate, self._live, found, summary)
        return found

    def report(self) -> Report:
        """Report about the candidate that was compared last."""
        assert self._report is not None
        return self._report


def publish_through_gate(
    store: BundleStore,
    contents: BundleContents,
    gate: PublicationGate,
    prepare: Callable[[Bundle], None] | None = None,
) -> str:
    """Publish a bundle if the gate accepts it; the report is stored either way.

    Args:
        store: the store.
        contents: of the bundle.
        gate: the gate.
        prepare: called with the accepted candidate before it becomes live.

    Returns:
        The new version.

    Raises:
        GateError: the gate refused the candidate.
    """
    try:
        version = store.publish(contents, gate, prepare)
    except GateError:
        gate.report().write(store.storage, f"refused-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
        raise
    gate.report().write(store.storage, version)
    return version
