"""`POST /recommend/items`: items for somebody who is known by a few items alone."""

import numpy as np
from fastapi import FastAPI, Response

from bundle.history import fold_in
from service.queries import SessionQuery
from service.read_wishes import read_wishes
from service.responses import error_responses
from service.running import CurrentService
from service.schemas import SessionRecommendations

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
        wishes = await read_wishes(serving, query)
        ids = [item.item_id for item in query.items] + query.disliked
        weights = [item.weight for item in query.items] + [DISLIKED] * len(query.disliked)
        rows = serving.catalogue.rows(ids)
        known = rows >= 0
        unknown = [item_id for item_id, row in zip(ids, rows, strict=True) if row < 0]
        given = known if query.exclude_items else known & (np.arange(len(ids)) >= len(query.items))
        wishes = wishes._replace(excluded=np.union1d(wishes.excluded, rows[given]))
        liking = np.array(weights, np.float32)[known]
        vector = fold_in(serving.bundle, serving.catalogue.vectors(rows[known]), liking)
        answer, degraded = serving.answers.session, serving.tastes.degraded
        if vector is None:
            serving.metrics.fallbacks["unknown_items"].inc()
            top = serving.recommender.popular(query.k, wishes.excluded, wishes.allowed)
            body = answer("popular", "unknown_items", degraded, unknown, top)
        else:
            top = await serving.search(vector, wishes)
            body = answer("session", None, degraded, unknown, top)
    return Response(body, media_type="application/json")


def add_sessions(app: FastAPI) -> None:
    """Add the endpoint to an application."""
    app.post(
        "/recommend/items",
        response_class=Response,
        responses={
            200: {"model": SessionRecommendations},
            **error_responses("invalid_parameter", "body_too_large", "overloaded"),
        },
        tags=["recommend"],
    )(recommend_for_items)
