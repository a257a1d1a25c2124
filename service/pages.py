"""Pages of one ranking: no item twice, none left out, whatever happens meanwhile.

The first page computes the ranking and keeps it in the state, with the bundle version and what the
user was known by at that moment; later pages read from it. Items deleted since are passed over.
"""

import re
import secrets
from typing import Any

import orjson

from service.errors import CursorExpiredError, InvalidParameterError, StateUnavailableError
from service.queries import MAX_PAGED, RecommendQuery
from service.rank import rank
from service.running import Service
from service.state import StateError

NEW = "new"
CURSOR = re.compile(r"([0-9a-f]{32})\.([0-9]{1,4})")


async def answer_page(service: Service, user_id: str, query: RecommendQuery) -> bytes:
    """The JSON of `schemas.Recommendations` for one page.

    Raises:
        InvalidParameterError: it is no cursor, or not one of this request.
        CursorExpiredError: its ranking is not kept any more.
        StateUnavailableError: rankings cannot be kept or read.
    """
    if query.explain:
        raise InvalidParameterError("explain: is not possible with a cursor", "explain")
    if query.cursor == NEW:
        return await _first_page(service, user_id, query)
    match = CURSOR.fullmatch(query.cursor or "")
    if match is None:
        raise InvalidParameterError("cursor: is neither `new` nor a `next_cursor`", "cursor")
    token, start = match[1], int(match[2])
    try:
        body = await service.state.pages(token)
        erased = (await service.state.user(user_id)).erased
    except StateError as error:
        raise StateUnavailableError(str(error)) from error
    if body is None:
        raise CursorExpiredError("cursor: has expired", "cursor")
    kept = orjson.loads(body)
    if kept["answer"]["user_id"] != user_id or kept["options"] != _options(query):
        raise InvalidParameterError("cursor: was made for other parameters", "cursor")
    if erased and not kept["erased"]:
        raise CursorExpiredError("cursor: has expired", "cursor")
    return _page(service, kept, token, start, query.k)


async def _first_page(service: Service, user_id: str, query: RecommendQuery) -> bytes:
    arm = service.arm(user_id)
    serving = service.serving_of(arm)
    asked = query if arm is None else arm.apply(query)
    taste, _, top = await rank(serving, user_id, asked, MAX_PAGED)
    answer = orjson.loads(serving.answers.recommendations(user_id, taste, top, arm))
    token = secrets.token_hex(16)
    try:
        erased = (await service.state.user(user_id)).erased
        kept = {"answer": answer, "options": _options(query), "erased": erased}
        await service.state.keep_pages(token, orjson.dumps(kept), service.settings.pages_ttl)
    except StateError as error:
        raise StateUnavailableError(str(error)) from error
    return _page(service, kept, token, 0, query.k)


def _page(service: Service, kept: dict[str, Any], token: str, start: int, k: int) -> bytes:
    """The next k items from a place on that were not deleted."""
    answer = kept["answer"]
    ranked = answer["items"]
    catalogue = service.serving.catalogue
    items: list[dict[str, Any]] = []
    place = start
    while place < len(ranked) and len(items) < k:
        if not catalogue.was_deleted(ranked[place]["item_id"]):
            items.append(ranked[place])
        place += 1
    following = f"{token}.{place}" if place < len(ranked) else None
    return orjson.dumps({**answer, "items": items, "next_cursor": following})


def _options(query: RecommendQuery) -> dict[str, Any]:
    """What makes a ranking what it is."""
    return query.model_dump(exclude={"k", "cursor"})
