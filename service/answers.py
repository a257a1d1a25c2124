"""Answers as JSON bytes.

What does not change between requests is encoded once a bundle: with 20 items this takes 3 µs,
where a pydantic response model takes ten times as long. That the bytes fit
`schemas.Recommendations` and `schemas.SimilarItems` is tested, not checked at run time.
"""

import numpy as np
import orjson
from numpy.typing import NDArray

from bundle.loading import Bundle
from bundle.recommender import Recommender, TopK
from service.queries import MAX_K
from service.schemas import CacheResult, FallbackReason, Source

REASONS = 3
"""Items of a history that an explanation names."""


class AnswerEncoder:
    """Makes JSON of results of one bundle."""

    def __init__(self, bundle: Bundle) -> None:
        ids = self._ids = bundle.items.ids
        titles = (
            bundle.item_table["title"].to_pylist()
            if "title" in bundle.item_table.column_names
            else [None] * len(ids)
        )
        self._bundle = bundle
        self._version = orjson.dumps(bundle.version)
        self._items = [b'{"item_id":%b,"score":' % orjson.dumps(item_id) for item_id in ids]
        self._titles = [b'"title":%b},' % orjson.dumps(title) for title in titles]
        self._ranks = [b',"rank":%d},' % rank for rank in range(1, MAX_K + 1)]
        self._open_ranks = [b',"rank":%d,' % rank for rank in range(1, MAX_K + 1)]

    def recommendations(
        self,
        user_id: str,
        source: Source,
        fallback_reason: FallbackReason | None,
        cache: CacheResult,
        degraded: bool,
        top: TopK,
    ) -> bytes:
        """The JSON of `schemas.Recommendations`."""
        return (
            b'{"user_id":%b,"bundle_version":%b,"source":"%b","fallback_reason":%b,'
            b'"cache":"%b","degraded":%b,"items":[%b]}'
        ) % (
            orjson.dumps(user_id),
            self._version,
            source.encode(),
            b'"%b"' % fallback_reason.encode() if fallback_reason else b"null",
            cache.encode(),
            b"true" if degraded else b"false",
            self._scored(top),
        )

    def explained(
        self,
        answer: bytes,
        recommender: Recommender,
        vector: NDArray[np.float32],
        history: NDArray[np.int32],
        top: TopK,
    ) -> bytes:
        """An answer with `parts` and `because` for each item.

        Args:
            answer: the JSON without them.
            recommender: knows what scores are made of.
            vector: [D] of the user.
            history: item_idx of what the user is known by.
            top: the answer's items.
        """
        found = orjson.loads(answer)
        parts = recommender.parts(vector, top.item_idx)
        shares = recommender.influence(history, top.item_idx)
        for n, item in enumerate(found["items"]):
            item["parts"] = {name: round(float(values[n]), 6) for name, values in parts.items()}
            best = np.argsort(-shares[n], kind="stable")[:REASONS]
            item["because"] = [
                {"item_id": self._ids[history[h]], "share": round(float(shares[n, h]), 6)}
                for h in best.tolist()
                if shares[n, h] > 0
            ]
        return orjson.dumps(found)

    def session(
        self,
        source: Source,
        fallback_reason: FallbackReason | None,
        unknown_items: list[str],
        top: TopK,
    ) -> bytes:
        """The JSON of `schemas.SessionRecommendations`."""
        return (
            b'{"bundle_version":%b,"source":"%b","fallback_reason":%b,"unknown_items":%b,'
            b'"items":[%b]}'
        ) % (
            self._version,
            source.encode(),
            b'"%b"' % fallback_reason.encode() if fallback_reason else b"null",
            orjson.dumps(unknown_items),
            self._scored(top),
        )

    def item(self, item_idx: int) -> bytes:
        """The JSON of `schemas.Item`."""
        bundle = self._bundle
        (row,) = bundle.item_table.slice(item_idx, 1).to_pylist()
        item_id = row.pop("item_id")
        known = {
            "item_id": item_id,
            "bundle_version": bundle.version,
            "columns": row,
            "interactions": int(bundle.popularity[item_idx]),
            "has_vector": bool(bundle.item_vectors[item_idx].any()),
        }
        return orjson.dumps(known, default=str)

    def _scored(self, top: TopK) -> bytes:
        """`schemas.ScoredItem`s, separated by commas."""
        pieces: list[bytes] = []
        for item_idx, score, rank in zip(
            top.item_idx.tolist(), _score_literals(top), self._ranks, strict=False
        ):
            pieces += (self._items[item_idx], score, rank)
        return b"".join(pieces)[:-1]

    def similar_items(self, item_id: str, top: TopK) -> bytes:
        """The JSON of `schemas.SimilarItems`."""
        pieces: list[bytes] = []
        for item_idx, score, rank in zip(
            top.item_idx.tolist(), _score_literals(top), self._open_ranks, strict=False
        ):
            pieces += (self._items[item_idx], score, rank, self._titles[item_idx])
        return b'{"item_id":%b,"bundle_version":%b,"items":[%b]}' % (
            orjson.dumps(item_id),
            self._version,
            b"".join(pieces)[:-1],
        )


def _score_literals(top: TopK) -> list[bytes]:
    # As float32 they need fewer digits than as Python floats.
    return orjson.dumps(top.scores, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")
