"""Search in inverted lists, with results that may not be returned, and exact scores of codes."""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import faiss
import numpy as np

from bundle.format.manifest import IndexInfo
from bundle.format.reach import MOST_DISPLACED, RANKS, Reach, assumed_reach
from bundle.sorted_sets import is_member
from bundle.types import NO_ITEMS, Floats, Mask, Rows, Vector

FEW_EXCLUDED = 100
"""Maximum number of excluded items of queries that are searched together: each query of a batch
asks for as many results as the one with the most exclusions needs."""
RECALL_TARGET = 0.99
"""Recall that decides how many inverted lists a query visits."""
COMPARED = 65_536
"""Items that are compared with queries at a time when exact results are computed: 52 MB of scores
for 200 queries."""


class ItemVectors:
    """Vectors of items as they are compared: their first columns, as they are or at length 1.

    Args:
        vectors: [I, ·] float32, usually mapped.
        columns: how many of the columns count.
        unit: compare by cosine, not by inner product. A vector of length 0 keeps it.
    """

    def __init__(self, vectors: Floats, columns: int, unit: bool = False) -> None:
        self._vectors, self.columns, self.unit = vectors[:, :columns], columns, unit

    def __len__(self) -> int:
        return len(self._vectors)

    def __getitem__(self, rows: Rows | slice) -> Floats:
        """Vectors [n, columns] of some items."""
        found = np.asarray(self._vectors[rows])
        if not self.unit:
            return found
        lengths = np.sqrt(np.einsum("ij,ij->i", found, found))
        return np.asarray(found / np.where(lengths > 0, lengths, 1)[:, None], np.float32)


def is_coded(index: Any) -> bool:
    """True if an index holds codes of the vectors."""
    return not isinstance(index, faiss.IndexFlat | faiss.IndexIVFFlat)


def search_faiss(
    index: Any, queries: Floats, k: int, lists: int | None = None, selector: Any = None
) -> tuple[Floats, Rows]:
    """Search a FAISS index.

    Args:
        index: with inverted lists, or any if no number of lists is given.
        queries: [B, D].
        k: number of results, at least 1.
        lists: number of lists to visit, as many as usually by default; more than there are means
            all.
        selector: an IDSelector of the rows that may be found; all by default.

    Returns:
        Scores [B, k], descending, and rows [B, k]; rows are -1 where the lists hold fewer.
    """
    if queries.shape[1] < index.d:  # product quantisation needs a multiple of columns
        queries = np.pad(queries, ((0, 0), (0, index.d - queries.shape[1])))
    if selector is None and (lists is None or lists == index.nprobe):
        scores, rows = index.search(queries, k)
    else:
        options = faiss.SearchParametersIVF()
        options.nprobe = min(lists or index.nprobe, index.nlist)
        if selector is not None:
            options.sel = selector
        scores, rows = index.search(queries, k, params=options)
    return scores, rows.astype(np.int32)


def without(excluded: Rows) -> Any:
    """Selector of all rows but some."""
    return faiss.IDSelectorNot(faiss.IDSelectorBatch(excluded.astype(np.int64)))


def within(mask: Mask) -> Any:
    """Selector of the rows of a mask [I]."""
    bits: Any = np.packbits(mask, bitorder="little")
    # The stubs lack the argument that SWIG adds to the constructor.
    return faiss.IDSelectorBitmap(bits)  # type: ignore[call-arg]


class InvertedLists:
    """Search in inverted lists. Safe to call from several threads.

    Results have exact scores: where the lists hold codes, more results of the codes are compared by
    their vectors. Behind excluded items, as many lists are visited as it takes to find
    RECALL_TARGET of what exact search finds (`bundle.format.reach`).

    Args:
        index: the FAISS index.
        info: how it is searched.
        vectors: of the items that are in the index.

    Attributes:
        reach: how many lists a search needs.
        has_codes: true if the lists hold codes of the vectors.
    """

    def __init__(self, index: Any, info: IndexInfo, vectors: ItemVectors) -> None:
        self.index, self.info, self.vectors = index, info, vectors
        reach = info.reach or assumed_reach(info.nprobe, index.nlist)
        self.reach = Reach(reach, index.nlist, RECALL_TARGET)
        self.has_codes = is_coded(index)
        self._plans: dict[int, tuple[int, int, int]] = {}

    def search(
        self, queries: Floats, k: int, excluded: Sequence[Rows]
    ) -> list[tuple[Rows, Floats]]:
        """The items with the largest products.

        Args:
            queries: [B, D].
            k: number of results per query, at least 1.
            excluded: rows that must not be returned, for each query.

        Returns:
            For each query rows [≤k] and scores [≤k], descending; fewer if there are no more items.
        """
        lists, more, skippable = self._plan(k)
        few = [n for n, rows in enumerate(excluded) if len(rows) <= FEW_EXCLUDED]
        found: list[tuple[Rows, Floats]] = [(NO_ITEMS, np.empty(0, np.float32))] * len(queries)
        if few:
            dropped = [excluded[n] for n in few]
            tops = self._together(queries[few], k, dropped, lists, more)
            for n, top in zip(few, tops, strict=True):
                found[n] = top
        for n, rows in enumerate(excluded):
            if len(rows) > FEW_EXCLUDED:
                found[n] = self.among(queries[n], k, lists, more, without(rows))
            if len(rows) > skippable or len(found[n][0]) < k:
                found[n] = self._deeper(found[n], queries[n], k, rows, lists)
        return found

    def among(
        self, query: Vector, k: int, lists: int, more: int, selector: Any
    ) -> tuple[Rows, Floats]:
        """The best k of the rows that a selector allows, in so many lists.

        Args:
            query: [D].
            k: number of results, at least 1.
            lists: number of lists.
            more: further results of codes that are compared by their vectors.
            selector: an IDSelector; None for all rows.

        Returns:
            Rows [≤k] and scores [≤k], descending.
        """
        wanted = min(k + more, len(self.vectors))
        scores, rows = search_faiss(self.index, query[None], wanted, lists, selector)
        kept = rows[0] >= 0
        return self._exact(query, rows[0, kept], scores[0, kept], k)

    def skipped(self, query: Vector, bound: float, excluded: Rows) -> int:
        """Number of excluded rows with a larger product than the bound."""
        return int((self.vectors[excluded] @ query > bound).sum())

    def displaced(self, rank: int) -> int:
        """By how many places codes misplace an item of so large a rank; 0 without codes."""
        if not self.has_codes:
            return 0
        window = int(np.searchsorted(RANKS, rank))
        known = self.info.displaced
        return known[window] if window < len(known) else MOST_DISPLACED

    def scan(self, query: Vector, k: int, excluded: Rows, bound: float) -> tuple[Rows, Floats]:
        """The best k of all items without the excluded ones, by their vectors, exactly.

        Args:
            query: [D].
            k: number of results.
            excluded: rows that must not be returned.
            bound: a score that the k-th result reaches, or -inf.
        """
        bound -= 1e-5 * abs(bound)  # float32 sums of other libraries differ in the last bits
        taken = np.sort(excluded)
        rows, scores = [NO_ITEMS], [query[:0]]
        for start in range(0, len(self.vectors), COMPARED):
            products = self.vectors[slice(start, start + COMPARED)] @ query
            first, last = taken.searchsorted([start, start + COMPARED])
            products[taken[first:last] - start] = -np.inf
            good = np.flatnonzero((products >= bound) & (products > -np.inf))
            rows.append((good + start).astype(np.int32))
            scores.append(products[good])
        return _best_of(np.concatenate(rows), np.concatenate(scores), k)

    def _plan(self, k: int) -> tuple[int, int, int]:
        """Parameters of a search for k results, and the number of excluded items that they allow.

        Returns:
            Lists, further results of codes, number of excluded items.
        """
        known = self._plans.get(k)
        if known is not None:
            return known
        lists = max(self.info.nprobe, self.reach.lists(0, k))
        skippable, more = self.reach.skippable(k, lists), 0
        if self.has_codes:
            # With some more than are needed, users who have seen little are searched together.
            more = min(2 * self.displaced(k) + 16, MOST_DISPLACED)
            fine = takewhile(lambda skipped: self.displaced(skipped + k) <= more, (0, *RANKS))
            skippable = min(skippable, max(fine, default=-1))
        self._plans[k] = lists, more, skippable
        return self._plans[k]

    def _together(
        self, queries: Floats, k: int, excluded: Sequence[Rows], lists: int, more: int
    ) -> list[tuple[Rows, Floats]]:
        """Results of several queries by one search, from which excluded items are dropped."""
        # All excluded items may be among the best: with as many more, k are left in any case.
        wanted = min(len(self.vectors), k + more + max(map(len, excluded)))
        scores, rows = search_faiss(self.index, queries, wanted, lists)
        places, counts = _kept(rows, k + more, excluded)
        by_row = np.arange(len(rows))[:, None]
        rows, scores = rows[by_row, places], scores[by_row, places]
        return [
            self._exact(queries[n], rows[n, :count], scores[n, :count], k)
            for n, count in enumerate(counts)
        ]

    def _exact(self, query: Vector, rows: Rows, scores: Floats, k: int) -> tuple[Rows, Floats]:
        """The best k of some results, with the products of their vectors."""
        if not self.has_codes:
            return rows[:k], scores[:k]
        return _best_of(rows, self.vectors[rows] @ query, k)

    def _deeper(
        self, found: tuple[Rows, Floats], query: Vector, k: int, excluded: Rows, lists: int
    ) -> tuple[Rows, Floats]:
        """Results from as many lists as it takes behind the excluded items that are better.

        Their number is at most that of those better than the worst result so far: more lists can
        only raise it.
        """
        is_full = len(found[0]) == k
        bound = float(found[1][-1]) if is_full else -np.inf
        skipped = self.skipped(query, bound, excluded)
        needed, more = self.reach.lists(skipped, k), self.displaced(skipped + k)
        if is_full and needed <= lists and more <= self._plan(k)[1]:
            return found
        if needed < self.index.nlist and more < MOST_DISPLACED:
            found = self.among(query, k, needed, more, without(excluded))
            if len(found[0]) == k:
                return found
        return self.scan(query, k, excluded, bound)


def _best_of(rows: Rows, scores: Floats, k: int) -> tuple[Rows, Floats]:
    order = np.lexsort((rows, -scores))[:k]
    return rows[order], scores[order]


def _kept(rows: Rows, k: int, excluded: Sequence[Rows]) -> tuple[Rows, list[int]]:
    """Places of the first k of each row of results [B, n] that are not excluded.

    It handles all rows at once: a dozen NumPy calls per batch instead of per query.

    Returns:
        Places [B, k], and how many of each row count.
    """
    keep = rows >= 0  # FAISS pads with -1 if its lists hold fewer items
    lengths = [len(items) for items in excluded]
    if any(lengths):
        # One number per pair of query and item.
        offsets = np.arange(len(rows)) << 32
        taken = np.sort(np.concatenate(excluded) + offsets.repeat(lengths))
        keep &= ~is_member(rows + offsets[:, None], taken)
    # A stable sort moves the kept ones to the front and keeps their order.
    places = np.argsort(~keep, axis=1, kind="stable")[:, :k]
    counts: list[int] = np.minimum(keep.sum(axis=1), k).tolist()
    return places.astype(np.int32), counts
