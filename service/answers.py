"""Answers as JSON bytes.

What does not change between requests is encoded once a bundle: with 20 items this takes 3 µs,
where a pydantic response model takes ten times as long. That the bytes fit
`schemas.Recommendations` and `schemas.SimilarItems` is tested, not checked at run time.
"""

import orjson

from bundle.loading import Bundle
from bundle.recommender import TopK
from service.schemas import MAX_K, CacheResult, FallbackReason, Source


class AnswerEncoder:
    """Makes JSON of results of one bundle."""

    def __init__(self, bundle: Bundle) -> None:
        ids = bundle.items.ids
        titles = (
            bundle.item_table["title"].to_pylist()
            if "title" in bundle.item_table.column_names
            else [None] * len(ids)
        )
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
