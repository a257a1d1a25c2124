"""`POST /recommend/items`: items for somebody who is known by a few items alone."""

import numpy as np
from fastapi import FastAPI, Response
from numpy.typing import NDArray

from service.queries import SessionQuery
from service.responses import error_responses
from service.schemas import SessionRecommendations
from service.serving import CurrentService, Serving

DISLIKED = -0.5
"""Weight of a disliked item: it pushes half as hard as a liked one pulls (Rocchio's formula)."""


async def recommend_for_items(query: SessionQuery, service: CurrentService) -> Response:
    """The best items for an anonymous session, known by the items that it liked and disliked.

    The vector is made by the same encoder that makes users of their histories. Items that the
    bundle does not know are listed in `unknown_items` and count for nothing; if none is left, the
    popular items are the answer.
    """
    with service.permits:
        serving = service.serving
        allowed = await serving.allowed(query.filter)
        ids = [item.item_id for item in query.items] + query.disliked
        weights = [item.weight for item in query.items] + [DISLIKED] * len(query.disliked)
        rows = serving.bundle.items.rows(ids)
        known = rows >= 0
        unknown = [item_id for item_id, row in zip(ids, rows, strict=True) if row < 0]
        given = known if query.exclude_items else known & (np.arange(len(ids)) >= len(query.items))
        excluded = np.unique(rows[given])
        vector = _vector(serving, rows[known], np.array(weights, np.float32)[known])
        if vector is None:
            serving.metrics.fallbacks["unknown_items"].inc()
            top = serving.recommender.popular(query.k, excluded, allowed)
            body = serving.answers.session("popular", "unknown_items", unknown, top)
        else:
            top = await serving.search(vector, query.k, excluded, allowed)
            body = serving.answers.session("session", None, unknown, top)
    return Response(body, media_type="application/json")


def _vector(
    serving: Serving, rows: NDArray[np.int32], weights: NDArray[np.float32]
) -> NDArray[np.float32] | None:
    """The session's vector [D], None if nothing that it liked has one."""
    if not (weights > 0).any():
        return None
    history = np.array(serving.bundle.item_vectors[rows])[None]
    mask = np.ones((1, len(rows)), np.bool_)
    vector: NDArray[np.float32] = serving.bundle.user_encoder.encode(history, mask, weights[None])[
        0
    ]
    return vector if vector.any() else None


def add_sessions(app: FastAPI) -> None:
    """Add the endpoint to an application."""
    app.post(
        "/recommend/items",
        response_class=Response,
        responses={200: {"model": SessionRecommendations}, **error_responses(413, 422, 503)},
        tags=["recommend"],
    )(recommend_for_items)
