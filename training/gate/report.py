"""Report of a candidate compared with the live bundle, as JSON and as an HTML page."""

import base64
import io
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader
from numpy.typing import NDArray

from bundle.format.reader import Bundle
from bundle.ids import IdMap
from bundle.store.backend import Storage
from training.evaluation.heldout import K, Ranking
from training.gate.gate import GATED_METRICS, Comparison

FOLDER = "reports"
SAMPLE = 10_000
"""Maximum number of users, and of items, whose old and new vectors are compared."""
QUANTILES = (0.01, 0.1, 0.5, 0.9, 0.99)


@dataclass(frozen=True)
class Report:
    """Comparison, sizes and drift of a candidate.

    Attributes:
        summary: facts about the candidate by name, e.g. the number of new events.
        live: version of the live bundle; None if there is none.
        sizes: numbers of users, items and interactions of live bundle and candidate.
        comparison: result of the gate.
        drift: cosines between old and new vectors of users and of items in both bundles, [n] each.
    """

    summary: dict[str, Any]
    live: str | None
    sizes: dict[str, tuple[int | None, int]]
    comparison: Comparison
    drift: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        candidate: Bundle,
        live: Bundle | None,
        comparison: Comparison,
        summary: dict[str, Any],
    ) -> "Report":
        """Create the report; without a live bundle it has no drift."""
        before = _sizes(live) if live else {}
        sizes = {name: (before.get(name), size) for name, size in _sizes(candidate).items()}
        drift: dict[str, NDArray[np.float32]] = {}
        if live is None:
            return cls(summary, None, sizes, comparison)
        if live.manifest.dim == candidate.manifest.dim:
            drift = {
                "users": _cosines(
                    live.users, live.user_vectors, candidate.users, candidate.user_vectors
                ),
                "items": _cosines(
                    live.items, live.item_vectors, candidate.items, candidate.item_vectors
                ),
            }
        return cls(summary, live.version, sizes, comparison, drift)

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        scores = {
            name: _quantiles(_finite(ranked.scores[:, :K]))
            for name, ranked in self._ranked().items()
        }
        return {
            "live": self.live,
            "refresh": self.summary,
            "sizes": {name: {"live": a, "candidate": b} for name, (a, b) in self.sizes.items()},
            "gate": self.comparison.to_json(),
            "scores": scores,
            "drift": {name: _quantiles(cosines) for name, cosines in self.drift.items()},
        }

    def table(self) -> str:
        """The metrics as a text table."""
        found = self.comparison
        rows = {name: ranked.metrics for name, ranked in self._ranked().items()}
        if not rows:
            return "metrics are not compared: there are no held-out interactions"
        rows["popularity"] = found.popularity
        names = [*GATED_METRICS, f"coverage@{K}"]
        lines = [f"{found.users} users" + "".join(f"{name:>14}" for name in names)]
        lines += [
            f"{row:<{len(lines[0]) - 14 * len(names)}}"
            + "".join(f"{metrics[name]:>14.4f}" for name in names)
            for row, metrics in rows.items()
        ]
        return "\n".join(lines)

    def html(self, name: str) -> str:
        """The report as a self-contained HTML page."""
        page = Environment(loader=PackageLoader("training.gate", "."), autoescape=True)
        scores = {n: _finite(ranked.scores[:, :K]) for n, ranked in self._ranked().items()}
        plots = []
        if scores:
            plots.append(("Scores of the top 20", _histogram(scores, "score")))
        if self.drift:
            plots.append(("Cosine between old and new vectors", _histogram(self.drift, "cosine")))
        shown = self.comparison.to_json()
        return page.get_template("report.html").render(
            name=name,
            report=self,
            gate=shown,
            metrics=[*GATED_METRICS, f"coverage@{K}"],
            plots=plots,
        )

    def write(self, storage: Storage, name: str) -> None:
        """Write `reports/<name>.json` and `.html` into a store."""
        text = json.dumps({"candidate": name, **self.to_json()}, indent=1)
        storage.write(f"{FOLDER}/{name}.json", text.encode())
        storage.write(f"{FOLDER}/{name}.html", self.html(name).encode())

    def _ranked(self) -> dict[str, Ranking]:
        both = {"live": self.comparison.live, "candidate": self.comparison.candidate}
        return {name: ranked for name, ranked in both.items() if ranked is not None}


def _sizes(bundle: Bundle) -> dict[str, int]:
    return {
        "users": len(bundle.users),
        "items": len(bundle.items),
        "interactions": bundle.seen.nnz,
    }


def _cosines(
    old_ids: IdMap, old: NDArray[np.float32], new_ids: IdMap, new: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Cosines between old and new vectors, for a sample of the ids in both bundles."""
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.choice(len(old_ids), min(SAMPLE, len(old_ids)), replace=False))
    rows = new_ids.rows(old_ids.take(chosen))
    one, other = old[chosen[rows >= 0]], new[rows[rows >= 0]]
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    found: NDArray[np.float32] = (one * other).sum(1)[lengths > 0] / lengths[lengths > 0]
    return found


def _finite(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return values[np.isfinite(values)]


def _quantiles(values: NDArray[np.float32]) -> dict[str, float]:
    if not len(values):
        return {}
    found = np.quantile(values, QUANTILES)
    return {f"{q:g}": float(value) for q, value in zip(QUANTILES, found, strict=True)}


def _histogram(series: dict[str, NDArray[np.float32]], label: str) -> str:
    """Histogram as a data URL with an SVG image."""
    from matplotlib.figure import Figure  # slow to import, and needed for reports only

    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.add_subplot()
    filled = {name: values.astype(np.float64) for name, values in series.items() if len(values)}
    every = np.concatenate([np.zeros(0), *filled.values()])
    bins = np.linspace(every.min(initial=0), every.max(initial=1), 60).tolist()
    for name, values in filled.items():
        axes.hist(values, bins, histtype="step", density=True, label=name)
    axes.set(xlabel=label, ylabel="density")
    if filled:
        axes.legend()
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(file.getvalue()).decode()
