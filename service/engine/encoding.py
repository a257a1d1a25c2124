"""Response encoder: results as JSON bytes.

Whatever does not change between requests is encoded once: a response of 20 items takes 3 µs, a
pydantic model ten times as long. Tests check that the bytes fit `Recommendations`, `SimilarItems`
and the other schemas; nothing checks it at run time.
"""

from collections.abc import Callable
from copy import copy
from functools import wraps
from time import perf_counter, time
from typing import Concatenate, ParamSpec

import numpy as np
import orjson
import pyarrow as pa

from bundle.catalogue.catalogue import Catalogue
from bundle.catalogue.values import json_value
from bundle.format.reader import Bundle
from bundle.search.experiment import Arm
from bundle.search.explanation import score_parts, top_shares
from bundle.search.options import SearchOptions
from bundle.search.topk import TopK
from bundle.sorted_sets import is_member
from bundle.types import Rows, Vector
from service.engine.profiles import UserProfile
from service.observability.metrics import Stage
from service.schemas.base import MAX_K
from service.schemas.recommend import MAX_PAGED
from service.types import AnswerSource, FallbackReason

REASONS = 3
"""Number of items of the history that an explanation names."""


P = ParamSpec("P")


def _timed(
    encode: Callable[Concatenate["ResponseEncoder", P], bytes],
) -> Callable[Concatenate["ResponseEncoder", P], bytes]:
    @wraps(encode)
    def timed(self: "ResponseEncoder", /, *arguments: P.args, **options: P.kwargs) -> bytes:
        started = perf_counter()
        answer = encode(self, *arguments, **options)
        self.seconds.observe(perf_counter() - started)
        return answer

    return timed


class ResponseEncoder:
    """JSON encoder for the results of one bundle.

    Args:
        bundle: the bundle.
        catalogue: its items as they are now.
        seconds: measures the time of encoding.
    """

    def __init__(self, bundle: Bundle, catalogue: Catalogue, seconds: Stage) -> None:
        self.seconds = seconds
        table = bundle.item_table
        self._titles = table["title"] if "title" in table.column_names else None
        self._bundle = bundle
        self._version = orjson.dumps(bundle.version)
        self._openings: dict[int, bytes] = {}
        self._with(catalogue)
        self._ranks = [b',"rank":%d},' % rank for rank in range(1, MAX_PAGED + 1)]
        self._open_ranks = [b',"rank":%d,' % rank for rank in range(1, MAX_K + 1)]

    def with_catalogue(self, catalogue: Catalogue) -> "ResponseEncoder":
        """The same encoder with other changes of items; the rest is shared."""
        other = copy(self)
        other._with(catalogue)
        return other

    def _with(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        overlay = catalogue.overlay
        self._changed_titles: dict[int, bytes] = {}
        if "title" in overlay.table.column_names:
            titles = overlay.table["title"]
            rows = overlay.changed.tolist()
            self._changed_titles = dict(zip(rows, map(_closing, titles), strict=True))

    @_timed
    def recommendations(
        self,
        user_id: str,
        profile: UserProfile,
        top: TopK,
        arm: Arm | None = None,
    ) -> bytes:
        """The JSON of `Recommendations`."""
        return (
            b'{"user_id":%b,"bundle_version":%b,"source":"%b","fallback_reason":%b,'
            b'"cache":"%b","degraded":%b,"vector_age":%b,"experiment":%b,"items":[%b]}'
        ) % (
            orjson.dumps(user_id),
            self._version,
            profile.source.encode(),
            b'"%b"' % profile.reason.encode() if profile.reason else b"null",
            b"hit" if profile.cached else b"miss",
            b"true" if profile.degraded else b"false",
            b"null" if profile.vector is None else b"%d" % max(0, time() - profile.made_at),
            b"null" if arm is None else arm.encoded,
            self._scored(top),
        )

    @_timed
    def explained(
        self, response: bytes, vector: Vector, history: Rows, options: SearchOptions, top: TopK
    ) -> bytes:
        """A response with `parts` and `because` for each item.

        Args:
            response: the JSON without them.
            vector: [D] of the user or session.
            history: item_idx of what they liked.
            options: of the search; parts are scaled by its weights, boosts are a part.
            top: the items of the response.
        """
        found = orjson.loads(response)
        parts = score_parts(self._catalogue, vector, top.item_idx)
        if options.weights is not None:
            weighted = zip(parts, options.weights, strict=True)
            parts = {name: weight * parts[name] for name, weight in weighted}
        if options.boosts:
            parts["boost"] = sum(
                (boost.amount * is_member(top.item_idx, boost.items) for boost in options.boosts),
                np.zeros(len(top.item_idx), np.float32),
            )
        rounded = [np.round(values.astype(float), 6).tolist() for values in parts.values()]
        known = (top.item_idx < self._catalogue.n_bundle).tolist()
        nothing = dict.fromkeys(parts)
        ids = self._catalogue.item_ids(history.tolist())
        best, shares = top_shares(self._catalogue, history, top.item_idx, REASONS)
        reasons = zip(best.tolist(), np.round(shares.astype(float), 6).tolist(), strict=True)
        for item, is_known, (places, given), *values in zip(
            found["items"], known, reasons, *rounded, strict=True
        ):
            item["parts"] = dict(zip(parts, values, strict=True)) if is_known else nothing
            item["because"] = [
                {"item_id": ids[place], "share": share}
                for place, share in zip(places, given, strict=True)
                if share > 0
            ]
        return orjson.dumps(found)

    @_timed
    def session(
        self,
        source: AnswerSource,
        fallback_reason: FallbackReason | None,
        degraded: bool,
        unknown_items: list[str],
        top: TopK,
    ) -> bytes:
        """The JSON of `SessionRecommendations`."""
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
        """The JSON of `Item`."""
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

    def _openings_of(self, rows: list[int]) -> list[bytes]:
        """The first bytes of some items' JSON; those of the bundle's items are kept."""
        openings = self._openings
        try:
            return [*map(openings.__getitem__, rows)]
        except KeyError:
            pass  # at the first use of an item, and for items that were added since
        found = [openings.get(row, b"") for row in rows]
        missing = [n for n, opening in enumerate(found) if not opening]
        ids = self._catalogue.item_ids([rows[n] for n in missing])
        for n, item_id in zip(missing, ids, strict=True):
            found[n] = b'{"item_id":%b,"score":' % orjson.dumps(item_id)
            if rows[n] < self._catalogue.n_bundle:
                openings[rows[n]] = found[n]
        return found

    def _title(self, item_idx: int) -> bytes:
        changed = self._changed_titles.get(item_idx)
        if changed is not None:
            return changed
        if self._titles is None or item_idx >= len(self._titles):
            return _closing(pa.scalar(None))
        return _closing(self._titles[item_idx])

    def _scored(self, top: TopK) -> bytes:
        """`ScoredItem`s, separated by commas."""
        rows = top.item_idx.tolist()
        if not rows:
            return b""
        ranks = self._ranks[: len(rows)]
        pieces = ranks * 3
        pieces[::3], pieces[1::3], pieces[2::3] = (
            self._openings_of(rows),
            _score_literals(top),
            ranks,
        )
        return b"".join(pieces)[:-1]

    @_timed
    def similar_items(self, item_id: str, degraded: bool, top: TopK) -> bytes:
        """The JSON of `SimilarItems`."""
        return b'{"item_id":%b,"bundle_version":%b,"degraded":%b,"items":[%b]}' % (
            orjson.dumps(item_id),
            self._version,
            b"true" if degraded else b"false",
            self.similar_list(top),
        )

    def similar_list(self, top: TopK) -> bytes:
        """The JSON of `SimilarItem`s, separated by commas."""
        rows = top.item_idx.tolist()
        pieces: list[bytes] = []
        for row, opening, score, rank in zip(
            rows, self._openings_of(rows), _score_literals(top), self._open_ranks, strict=False
        ):
            pieces += (opening, score, rank, self._title(row))
        return b"".join(pieces)[:-1]


def _closing(title: pa.Scalar) -> bytes:
    found = json_value(title)
    if isinstance(found, list):
        found = ", ".join(map(str, found))
    return b'"title":%b},' % orjson.dumps(found if found is None else str(found))


def _score_literals(top: TopK) -> list[bytes]:
    # As float32 they need fewer digits than as Python floats.
    return orjson.dumps(top.scores, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")
