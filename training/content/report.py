"""What happened to the content of the items on its way to a feature file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

N_EXAMPLES = 10
"""Broken items that a report names."""

Modality = Literal["text", "image"]


@dataclass(frozen=True)
class Problem:
    """An item whose content could not be encoded, and why."""

    item_id: str
    source: str
    reason: str


@dataclass(frozen=True)
class ModalityReport:
    """One feature file and how it came about; the counts of items add up to `n_items`.

    Attributes:
        modality: `text` or `image`.
        path: the file that was written.
        n_items: rows of the file.
        dim: columns of the file.
        n_encoded: items that went through the encoder in this run.
        n_cached: items whose vector was known from an earlier run.
        n_absent: items with an empty cell.
        n_broken: items whose content could not be encoded.
        broken: the first N_EXAMPLES of them.
        seconds: wall-clock time, without loading the encoder.
    """

    modality: Modality
    path: Path
    n_items: int
    dim: int
    n_encoded: int
    n_cached: int
    n_absent: int
    n_broken: int
    broken: list[Problem]
    seconds: float

    def lines(self) -> list[str]:
        """The report for people: a sentence, then one for each broken item that it names."""
        head = (
            f"{self.path.name}: {self.n_items} items × {self.dim}, {self.n_encoded} encoded, "
            f"{self.n_cached} from the cache, {self.n_absent} without {self.modality}, "
            f"{self.n_broken} broken, {self.seconds:.1f} s"
        )
        return [head, *(f"  {p.item_id}: {p.source}: {p.reason}" for p in self.broken)]


@dataclass(frozen=True)
class FeatureReport:
    """What `extract_features` wrote, text first."""

    modalities: list[ModalityReport]

    def lines(self) -> list[str]:
        """The report for people, line by line."""
        return [line for modality in self.modalities for line in modality.lines()]
