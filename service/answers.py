"""Answers as JSON bytes.

What does not change between requests is encoded once: with 20 items this takes 3 µs,
where a pydantic response model takes ten times as long. That the bytes fit
`schemas.Recommendations` and `schemas.SimilarItems` is tested, not checked at run time.
"""

from collections.abc import Callable
from copy import copy
from functools import wraps
from time import perf_counter, time
from typing import Concatenate, ParamSpec

import numpy as np
import orjson

from bundle.catalogue import Catalogue
from bundle.ids import IdMap
from bundle.loading import Bundle
from bundle.recommender import Recommender
from bundle.topk import TopK
from service.experiments import Arm
from service.metrics import Stage
from service.queries import MAX_K, MAX_PAGED
from service.schemas import FallbackReason, Source
from service.tastes import Taste
from service.wishes import Wishes

REASONS = 3
"""Items of a history that an explanation names."""


P = ParamSpec("P")


def _timed(
    encode: Callable[Concatenate["AnswerEncoder", P], bytes],
) -> Callable[Concatenate["AnswerEncoder", P], bytes]:
    @wraps(encode)
    def timed(self: "AnswerEncoder", /, *arguments: P.args, **options: P.kwargs) -> bytes:
        started = perf_counter()
        answer = encode(self, *arguments, **options)
        self.seconds.observe(perf_counter() - started)
        return answer

    return timed


class AnswerEncoder:
    """Makes JSON of results of one bundle.

    Args:
        bundle: it.
        catalogue: its items as they are now.
        seconds: where the time that it takes is taken down.
    """

    def __init__(self, bundle: Bundle, catalogue: Catalogue, seconds: Stage) -> None:
        self.seconds = seconds
        table = bundle.item_table
        self._titles = table["title"] if "title" in table.column_names else None
        self._bundle = bundle
        self._version = orjson.dumps(bundle.version)
        self._items = _Openings(bundle.items)
        self._with(catalogue)
        self._ranks = [b',"rank":%d},' % rank for rank in range(1, MAX_PAGED + 1)]
        self._open_ranks = [b',"rank":%d,' % rank for rank in range(1, MAX_K + 1)]

    def with_catalogue(self, catalogue: Catalogue) -> "AnswerEncoder":
        """The same with items as they are now; what depends on the bundle alone is shared."""
        other = copy(self)
        other._with(catalogue)
        return other

    def _with(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        overlay = catalogue.overlay
        self._added = [_opening(item_id) for item_id in overlay.added.ids]
        self._changed_titles: dict[int, bytes] = {}
        if "title" in overlay.table.column_names:
            titles = overlay.table["title"].to_pylist()
            rows = overlay.changed.tolist()
            self._changed_titles = dict(zip(rows, map(_closing, titles), strict=True))

    @_timed
    def recommendations(
        self,
        user_id: str,
        taste: Taste,
        top: TopK,
        arm: Arm | None = None,
    ) -> bytes:
        """The JSON of `schemas.Recommendations`."""
        return (
            b'{"user_id":%b,"bundle_version":%b,"source":"%b","fallback_reason":%b,'
            b'"cache":"%b","degraded":%b,"vector_age":%b,"experiment":%b,"items":[%b]}'
        ) % (
            orjson.dumps(user_id),
            self._version,
            taste.source.encode(),
            b'"%b"' % taste.reason.encode() if taste.reason else b"null",
            b"hit" if taste.cached else b"miss",
            b"true" if taste.degraded else b"false",
            b"null" if taste.vector is None else b"%d" % max(0, time() - taste.made_at),
            b"null" if arm is None else arm.encoded,
            self._scored(top),
        )

    @_timed
    def explained(
        self,
        answer: bytes,
        recommender: Recommender,
        taste: Taste,
        wishes: Wishes,
        top: TopK,
    ) -> bytes:
        """An answer with `parts` and `because` for each item.

        Args:
            answer: the JSON without them.
            recommender: knows what scores are made of.
            taste: what the user is known by.
            wishes: what was wanted; parts are scaled by its weights, boosts are a part.
            top: the answer's items.
        """
        found = orjson.loads(answer)
        assert taste.vector is not None
        parts = recommender.parts(taste.vector, top.item_idx)
        if wishes.factors is not None:
            names = zip(parts, wishes.factors, strict=True)
            parts = {name: factor * parts[name] for name, factor in names}
        if wishes.boosts:
            parts["boost"] = sum(
                (boost.amount * np.isin(top.item_idx, boost.items) for boost in wishes.boosts),
                np.zeros(len(top.item_idx), np.float32),
            )
        history = taste.history
        shares = recommender.influence(history, top.item_idx)
        for n, item in enumerate(found["items"]):
            known = top.item_idx[n] < self._catalogue.n_bundle
            item["parts"] = {
                name: round(float(values[n]), 6) if known else None
                for name, values in parts.items()
            }
            best = np.argsort(-shares[n], kind="stable")[:REASONS]
            item["because"] = [
                {
                    "item_id": self._catalogue.item_id(int(history[h])),
                    "share": round(float(shares[n, h]), 6),
                }
                for h in best.tolist()
                if shares[n, h] > 0
            ]
        return orjson.dumps(found)

    @_timed
    def session(
        self,
        source: Source,
        fallback_reason: FallbackReason | None,
        degraded: bool,
        unknown_items: list[str],
        top: TopK,
    ) -> bytes:
        """The JSON of `schemas.SessionRecommendations`."""
        return (
            b'{"bundle_version":%b,"source":"%b","fallback_reason":%b,"cache":"miss",'
            b'"degraded":%b,"vector_age":%b,"experiment":null,"unknown_items":%b,"items":[%b]}'
        ) % (
            self._version,
            source.encode(),
            b'"%b"' % fallback_reason.encode() if fallback_reason else b"null",
            b"true" if degraded else b"false",
            b"0" if source == "session" else b"null",
            orjson.dumps(unknown_items),
            self._scored(top),
        )

    def item(self, item_idx: int) -> bytes:
        """The JSON of `schemas.Item`."""
        catalogue = self._catalogue
        rows = np.array([item_idx], np.int32)
        known = {
            "item_id": catalogue.item_id(item_idx),
            "bundle_version": self._bundle.version,
            "state": catalogue.state(item_idx),
            "columns": catalogue.columns(item_idx),
            "interactions": int(catalogue.interactions(rows)[0]),
            "has_vector": bool(catalogue.vectors(rows).any()),
        }
        return orjson.dumps(known, default=str)

    def _opening(self, item_idx: int) -> bytes:
        known = self._catalogue.n_bundle
        return self._items[item_idx] if item_idx < known else self._added[item_idx - known]

    def _title(self, item_idx: int) -> bytes:
        changed = self._changed_titles.get(item_idx)
        if changed is not None:
            return changed
        if self._titles is None or item_idx >= len(self._titles):
            return _closing(None)
        return _closing(self._titles[item_idx].as_py())

    def _scored(self, top: TopK) -> bytes:
        """`schemas.ScoredItem`s, separated by commas."""
        rows = top.item_idx.tolist()
        if not rows:
            return b""
        # The hot loop of every request; most bundles have nothing added.
        openings = map(self._opening if self._added else self._items.__getitem__, rows)
        ranks = self._ranks[: len(rows)]
        pieces = ranks * 3
        pieces[::3], pieces[1::3], pieces[2::3] = openings, _score_literals(top), ranks
        return b"".join(pieces)[:-1]

    @_timed
    def similar_items(self, item_id: str, degraded: bool, top: TopK) -> bytes:
        """The JSON of `schemas.SimilarItems`."""
        pieces: list[bytes] = []
        for item_idx, score, rank in zip(
            top.item_idx.tolist(), _score_literals(top), self._open_ranks, strict=False
        ):
            title = self._title(item_idx)
            pieces += (self._opening(item_idx), score, rank, title)
        return b'{"item_id":%b,"bundle_version":%b,"degraded":%b,"items":[%b]}' % (
            orjson.dumps(item_id),
            self._version,
            b"true" if degraded else b"false",
            b"".join(pieces)[:-1],
        )


class _Openings(dict[int, bytes]):
    """By item_idx; each is made when it is first asked for, a million at the start take 0.4 s."""

    def __init__(self, items: IdMap) -> None:
        super().__init__()
        self._ids = items

    def __missing__(self, item_idx: int) -> bytes:
        opening = self[item_idx] = _opening(self._ids[item_idx])
        return opening


def _opening(item_id: str) -> bytes:
    return b'{"item_id":%b,"score":' % orjson.dumps(item_id)


def _closing(title: str | None) -> bytes:
    return b'"title":%b},' % orjson.dumps(title)


def _score_literals(top: TopK) -> list[bytes]:
    # As float32 they need fewer digits than as Python floats.
    return orjson.dumps(top.scores, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")
