"""Pagination of one ranking by cursors: no item appears twice, and none is left out.

The first page computes the ranking and stores it in the state, with the bundle version and the
user's profile at that moment; later pages read it. Items that were deleted meanwhile are skipped.
"""

import re
import secrets
from typing import Any

import orjson

from service.api.dependencies import state_errors
from service.engine.runtime import Runtime
from service.errors import CursorExpiredError, InvalidParameterError
from service.observability.logs import LOGGER
from service.schemas.recommend import MAX_PAGED, RecommendQuery

NEW = "new"
"""Cursor of the first page."""
CURSOR = re.compile(r"([0-9a-f]{32})\.([0-9]{1,4})")
"""Cursor of a later page: the token of the ranking and the position in it."""


async def recommend_page(runtime: Runtime, user_id: str, query: RecommendQuery) -> bytes:
    """The JSON of `Recommendations` for one page.

    Raises:
        InvalidParameterError: the cursor is invalid, or belongs to another request.
        CursorExpiredError: its ranking is no longer kept.
        StateUnavailableError: rankings cannot be stored or read.
    """
    if query.explain:
        raise InvalidParameterError("explain: cannot be combined with a cursor", "explain")
    if query.cursor == NEW:
        return await _first_page(runtime, user_id, query)
    match = CURSOR.fullmatch(query.cursor or "")
    if match is None:
        raise InvalidParameterError("cursor: is neither `new` nor a `next_cursor`", "cursor")
    token, start = match[1], int(match[2])
    with state_errors():
        body = await runtime.state.pages(token)
        erased = (await runtime.state.user(user_id)).erased
    if body is None:
        raise CursorExpiredError("cursor: has expired", "cursor")
    try:
        kept = orjson.loads(body)
        is_mine = kept["answer"]["user_id"] == user_id and kept["options"] == _options(query)
        is_over = erased and not kept["erased"]
        page = _page(runtime, kept, token, start, query.k)
    except (ValueError, KeyError, TypeError) as error:
        runtime.metrics.state_failures.labels("pages").inc()
        LOGGER.warning("ranking_unreadable", error=type(error).__name__)
        raise CursorExpiredError("cursor: has expired", "cursor") from None
    if not is_mine:
        raise InvalidParameterError("cursor: belongs to a request with other parameters", "cursor")
    if is_over:
        raise CursorExpiredError("cursor: has expired", "cursor")
    return _shown(runtime, page)


async def _first_page(runtime: Runtime, user_id: str, query: RecommendQuery) -> bytes:
    arm = runtime.arm(user_id)
    token = secrets.token_hex(16)
    while True:
        engine = runtime.engine_of(arm)
        asked = query if arm is None else arm.apply(query)
        with state_errors():
            erased = (await runtime.state.user(user_id)).erased
        profile, _, top = await engine.rank(user_id, asked, MAX_PAGED)
        answer = orjson.loads(engine.encoder.recommendations(user_id, profile, top, arm))
        kept = {"answer": answer, "options": _options(query), "erased": erased}
        with state_errors():
            ttl = runtime.settings.pages_ttl
            await runtime.state.keep_pages(user_id, token, orjson.dumps(kept), ttl)
            if (await runtime.state.user(user_id)).erased == erased:
                return _shown(runtime, _page(runtime, kept, token, 0, query.k))
        # The user was erased meanwhile: what the erasure could not find yet is written over.


def _shown(runtime: Runtime, page: dict[str, Any]) -> bytes:
    """The JSON of a page, which is remembered if its user is measured.

    Ranks after a deleted item are remembered as if there were no gap.
    """
    outcomes, user_id, items = runtime.outcomes, page["user_id"], page["items"]
    if outcomes is not None and items and outcomes.measures(user_id):
        arm = page["experiment"] and "{name}/{arm}".format_map(page["experiment"])
        ids, first = [item["item_id"] for item in items], items[0]["rank"]
        outcomes.show(user_id, arm, page["bundle_version"], page["source"], ids, first)
    return orjson.dumps(page)


def _page(runtime: Runtime, kept: dict[str, Any], token: str, start: int, k: int) -> dict[str, Any]:
    """The next k items from a position on, without deleted ones."""
    answer = kept["answer"]
    ranked = answer["items"]
    catalogue = runtime.engine.catalogue
    items: list[dict[str, Any]] = []
    position = start
    while position < len(ranked) and len(items) < k:
        if not catalogue.was_deleted(ranked[position]["item_id"]):
            items.append(ranked[position])
        position += 1
    following = f"{token}.{position}" if position < len(ranked) else None
    return {**answer, "items": items, "next_cursor": following}


def _options(query: RecommendQuery) -> dict[str, Any]:
    """The parameters that determine a ranking."""
    return query.model_dump(exclude={"k", "cursor"})
