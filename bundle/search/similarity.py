"""Similar items: exact search by cosine, for which the index is not built."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bundle.catalogue.catalogue import Catalogue
from bundle.format.manifest import POPULARITY, Manifest
from bundle.format.reader import Bundle
from bundle.search.topk import TopK, best_of
from bundle.types import NO_ITEMS, Floats, Rows

FUSED = "fused"
NOWHERE = -2.0
"""Stands for the cosine of an item that must not be returned; below every real cosine."""
NOTHING = TopK(NO_ITEMS, np.empty(0, np.float32))


def without_popularity(manifest: Manifest) -> int:
    """The number of leading columns of a vector that say what an item is like.

    Popularity, where a bundle has that part, is the last one.
    """
    last = manifest.parts[-1]
    return last.start if last.name == POPULARITY else last.stop


@dataclass(frozen=True)
class Directions:
    """Vectors [I, ·] to compare by cosine, with their lengths [I]."""

    vectors: Floats
    lengths: Floats

    @classmethod
    def of(cls, vectors: Floats) -> "Directions":
        # np.linalg.norm makes a squared copy of all vectors first.
        return cls(vectors, np.sqrt(np.einsum("ij,ij->i", vectors, vectors)))

    def cosines(self, query: Floats) -> Floats:
        """Cosines [I] with a unit vector [·]; NOWHERE for vectors of length 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            cosines = self.vectors @ query / self.lengths
        return np.where(self.lengths > 0, cosines, np.float32(NOWHERE)).astype(np.float32)


class Similarities:
    """Similarities of one bundle's items, by the fused vectors or by a part of them.

    Attributes:
        names: what can be compared: `fused` (the vectors without popularity: what an item is like
            does not depend on it) and each part but popularity.
        columns: how many of the vectors' columns `fused` has.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self.columns = without_popularity(bundle.manifest)
        self._directions = {FUSED: Directions.of(bundle.item_vectors[:, : self.columns])}
        names = [part.name for part in bundle.manifest.parts]
        self.names = [FUSED, *(name for name in names if name != POPULARITY)]

    def similar(
        self,
        catalogue: Catalogue,
        item_idx: int,
        k: int,
        by: str = FUSED,
        allowed: Rows | None = None,
    ) -> TopK:
        """Items whose vectors have the largest cosine with one item's, without itself.

        Args:
            catalogue: the items as they are now.
            item_idx: the item.
            k: how many.
            by: one of `names`: the fused vectors without the popularity part, or what a
                line or modality adds to them.
            allowed: item_idx that may come back; all by default.

        An item without a vector (no interactions, no features) resembles nothing: no results; by a
        part, that goes for items whose vector is not the bundle's, too. The search is exact: cosine
        is not what the index was built for.
        """
        n_bundle = len(self._bundle.items)
        if by != FUSED:
            if item_idx >= n_bundle:
                return NOTHING
            directions = self._by(by)
            query = np.asarray(directions.vectors[item_idx])
            return _nearest(catalogue, [directions], query, k, allowed, item_idx)
        query = catalogue.vectors(np.array([item_idx], np.int32))[0]
        return self.similar_to(catalogue, query, k, allowed, item_idx)

    def similar_to(
        self,
        catalogue: Catalogue,
        vector: Floats,
        k: int,
        allowed: Rows | None = None,
        item_idx: int = -1,
    ) -> TopK:
        """Items whose fused vectors have the largest cosine with a vector [D].

        Args:
            catalogue: the items as they are now.
            vector: of an item, which the catalogue need not have.
            k: how many.
            allowed: item_idx that may come back; all by default.
            item_idx: of the item itself, which does not come back.
        """
        groups = [self._directions[FUSED]]
        if len(catalogue.overlay.added):
            groups.append(Directions.of(catalogue.overlay.vectors[:, : self.columns]))
        return _nearest(catalogue, groups, vector[: self.columns], k, allowed, item_idx)

    def _by(self, name: str) -> Directions:
        """Directions by a part, computed at first use; two threads at once compute the same."""
        found = self._directions.get(name)
        if found is None:
            number = [part.name for part in self._bundle.manifest.parts].index(name)
            columns = self._bundle.manifest.part_columns(number)
            found = self._directions[name] = Directions.of(self._bundle.item_parts[:, columns])
        return found


def _nearest(
    catalogue: Catalogue,
    groups: Sequence[Directions],
    query: Floats,
    k: int,
    allowed: Rows | None,
    item_idx: int,
) -> TopK:
    """The k best cosines with a query among directions, in the order of item_idx."""
    length = np.linalg.norm(query)
    if length == 0.0:
        return NOTHING
    cosines = np.concatenate([group.cosines(query / length) for group in groups])
    cosines[catalogue.overlay.hidden] = NOWHERE
    if allowed is not None:
        elsewhere = np.ones(len(catalogue), np.bool_)
        elsewhere[allowed] = False
        cosines[elsewhere[: len(cosines)]] = NOWHERE
    wanted = min(k + 1, len(cosines))
    nearest = np.argpartition(-cosines, wanted - 1)[:wanted].astype(np.int32)
    nearest = nearest[cosines[nearest] > NOWHERE]
    return best_of(nearest, cosines[nearest], k, np.array([item_idx], np.int32))
