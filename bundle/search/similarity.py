"""Similar items by cosine: with an index of its own where there is one, otherwise exactly."""

from dataclasses import dataclass

import numpy as np

from bundle.catalogue.catalogue import Catalogue
from bundle.format.manifest import POPULARITY, without_popularity
from bundle.format.reader import Bundle
from bundle.search.list_search import ListSearch
from bundle.search.topk import TopK, merge, select
from bundle.types import NO_ITEMS, Floats, Rows

FUSED = "fused"
NOWHERE = -2.0
"""Stands for the cosine of an item that must not be returned; below every real cosine."""
NOTHING = TopK(NO_ITEMS, np.empty(0, np.float32))


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
        self.columns = without_popularity(bundle.manifest.parts)
        self._directions: dict[str, Directions] = {}
        self._search = None if bundle.similar is None else ListSearch(bundle.similar)
        if self._search is None:
            self._by(FUSED)
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
        part, that goes for items whose vector is not the bundle's, too. By the fused vectors of a
        large catalogue the index of similar items is searched; otherwise the search is exact.
        """
        n_bundle = len(self._bundle.items)
        if by != FUSED:
            if item_idx >= n_bundle:
                return NOTHING
            vector = np.asarray(self._vectors(by)[item_idx])
            return self._nearest(catalogue, by, vector, k, allowed, item_idx)
        vector = catalogue.vectors(np.array([item_idx], np.int32))[0]
        return self.similar_to(catalogue, vector, k, allowed, item_idx)

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
        return self._nearest(catalogue, FUSED, vector[: self.columns], k, allowed, item_idx)

    def _nearest(
        self,
        catalogue: Catalogue,
        by: str,
        vector: Floats,
        k: int,
        allowed: Rows | None,
        item_idx: int,
    ) -> TopK:
        """The bundle's items and, by the fused vectors, added ones nearest to a vector [·]."""
        n_bundle, overlay = len(self._bundle.items), catalogue.overlay
        length = np.linalg.norm(vector)
        if length == 0.0:
            return NOTHING
        query = np.asarray(vector / length, np.float32)
        excluded = np.append(overlay.hidden, np.int32(item_idx))
        among = None if allowed is None else allowed[: int(np.searchsorted(allowed, n_bundle))]
        if by == FUSED and self._search is not None:
            ours = excluded[(excluded >= 0) & (excluded < n_bundle)]
            (found,) = self._search.search(query[None], k, [ours], among)
            has_vector = np.any(self._bundle.item_vectors[found.item_idx, : self.columns], axis=1)
            found = TopK(found.item_idx[has_vector], found.scores[has_vector])
        else:
            found = nearest(self._by(by), query, k, excluded, among)
        if by != FUSED or not len(overlay.vectors):
            return found
        added = Directions.of(overlay.vectors[:, : self.columns])
        more = None if allowed is None else allowed[allowed >= n_bundle] - np.int32(n_bundle)
        other = nearest(added, query, k, excluded - np.int32(n_bundle), more)
        return merge(found, TopK(other.item_idx + np.int32(n_bundle), other.scores), k)

    def _vectors(self, name: str) -> Floats:
        """The bundle's vectors [I, ·] of one of the names."""
        if name == FUSED:
            return self._bundle.item_vectors[:, : self.columns]
        number = [part.name for part in self._bundle.manifest.parts].index(name)
        return self._bundle.item_parts[:, self._bundle.manifest.part_columns(number)]

    def _by(self, name: str) -> Directions:
        """Directions of a name, computed at first use; two threads at once compute the same."""
        found = self._directions.get(name)
        if found is None:
            found = self._directions[name] = Directions.of(self._vectors(name))
        return found


def nearest(
    directions: Directions, query: Floats, k: int, excluded: Rows, allowed: Rows | None
) -> TopK:
    """The rows with the largest cosine with a unit vector [·], exactly.

    Args:
        directions: [I, ·].
        query: [·].
        k: how many.
        excluded: rows that must not come back; those that are none are ignored.
        allowed: ascending rows that may; all by default.
    """
    cosines = directions.cosines(query)
    cosines[excluded[(excluded >= 0) & (excluded < len(cosines))]] = NOWHERE
    if allowed is not None:
        elsewhere = np.ones(len(cosines), np.bool_)
        elsewhere[allowed] = False
        cosines[elsewhere] = NOWHERE
    rows = np.flatnonzero(cosines > NOWHERE).astype(np.int32)
    return select(rows, cosines[rows], k)
