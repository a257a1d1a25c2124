"""Report of a feature extraction."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

N_EXAMPLES = 10
"""Maximum number of broken items that a report names."""

ContentKind = Literal["text", "image"]


@dataclass(frozen=True)
class BrokenItem:
    """An item whose content could not be encoded, and the reason."""

    item_id: str
    source: str
    reason: str


@dataclass(frozen=True)
class ModalityReport:
    """Report of one feature file; the counts of items add up to `n_items`.

    Attributes:
        modality: `text` or `image`.
        path: the feature file.
        n_items: rows of the file.
        dim: columns of the file.
        n_encoded: items encoded in this run.
        n_cached: items whose vector came from the cache.
        n_absent: items with an empty cell.
        n_broken: items whose content could not be encoded.
        broken: the first N_EXAMPLES of them.
        seconds: wall-clock time in seconds, without loading the encoder.
    """

    modality: ContentKind
    path: Path
    n_items: int
    dim: int
    n_encoded: int
    n_cached: int
    n_absent: int
    n_broken: int
    broken: list[BrokenItem]
    seconds: float

    def lines(self) -> list[str]:
        """Text of the report: one line of counts, then one line per named broken item."""
        head = (
            f"{self.path.name}: {self.n_items} items × {self.dim}, {self.n_encoded} encoded, "
            f"{self.n_cached} from the cache, {self.n_absent} without {self.modality}, "
            f"{self.n_broken} broken, {self.seconds:.1f} s"
        )
        return [head, *(f"  {p.item_id}: {p.source}: {p.reason}" for p in self.broken)]


@dataclass(frozen=True)
class FeatureReport:
    """Report of `extract_features`, text first."""

    modalities: list[ModalityReport]

    def lines(self) -> list[str]:
        """Text of the report, line by line."""
        return [line for modality in self.modalities for line in modality.lines()]
