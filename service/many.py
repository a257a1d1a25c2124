"""`POST /recommend`: many users in one request."""

import asyncio

from fastapi import FastAPI, Response

from service.errors import InvalidParameterError, error_body
from service.queries import MAX_RESULTS, POOL, ManyUsers
from service.read_wishes import read_wishes
from service.recommend import answer_user
from service.responses import error_responses
from service.running import CurrentService
from service.schemas import ManyRecommendations


async def recommend_many(query: ManyUsers, service: CurrentService) -> Response:
    """The best items for many users, as `GET /recommend/{user_id}` gives them for each.

    Their searches are done together; users × k is limited (ten times that with
    `diversity`, `weights` or `boost`). A user whose id is not acceptable gets an `error` in place
    of items; the others are not affected.
    """
    dear = query.diversity or query.weights or query.boost
    results = len(query.users) * query.k * (POOL if dear else 1)
    if results > MAX_RESULTS:
        raise InvalidParameterError(
            f"users: {results:,} results would have to be found, at most {MAX_RESULTS:,} are in "
            "one request",
            "users",
        )
    with service.permits:
        serving = service.serving
        await read_wishes(serving, query)  # wrong for one is wrong for all: refuse at once

        async def one(user_id: str) -> bytes:
            try:
                service.check_id(user_id, "user_id")
            except InvalidParameterError as error:
                return error_body(error.code, str(error), error.field)
            return await answer_user(service, user_id, query)

        answers = await asyncio.gather(*map(one, query.users))
    return Response(b'{"results":[%b]}' % b",".join(answers), media_type="application/json")


def add_many(app: FastAPI) -> None:
    """Add the endpoint to an application."""
    app.post(
        "/recommend",
        response_class=Response,
        responses={
            200: {"model": ManyRecommendations},
            **error_responses("invalid_parameter", "body_too_large", "overloaded"),
        },
        tags=["recommend"],
    )(recommend_many)
