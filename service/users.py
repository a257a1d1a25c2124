"""`/users`: what is known of a user, and erasure."""

from fastapi import FastAPI, Response

from service.errors import StateUnavailableError, UnknownUserError
from service.identifiers import UserIdPath
from service.responses import error_responses
from service.running import CurrentService
from service.schemas import KnownEvent, User
from service.state import StateError


async def get_user(user_id: UserIdPath, service: CurrentService) -> User:
    """What is known of a user: interactions in the bundle and events since."""
    with service.permits:
        serving = service.serving
        try:
            heard = await service.state.user(user_id)
        except StateError as error:
            raise StateUnavailableError(str(error)) from error
        bundle = serving.bundle
        user_idx = serving.tastes.user_idx(user_id, heard.erased)
        if user_idx is None and not heard.events:
            raise UnknownUserError("user_id: there is no such user", "user_id")
        seen = [] if user_idx is None else bundle.seen.row(user_idx).tolist()
        return User(
            user_id=user_id,
            bundle_version=bundle.version,
            trained=user_idx is not None,
            interactions=[bundle.items[row] for row in seen],
            events=[
                KnownEvent(
                    item_id=event.item_id,
                    type=event.type,
                    timestamp=event.timestamp,
                    weight=event.weight,
                )
                for event in heard.events
            ],
        )


async def delete_user(user_id: UserIdPath, service: CurrentService) -> Response:
    """Erase a user: events and vectors at once, and from the bundle with the next refresh.

    Until then the user is treated as one that the bundle does not know.
    """
    with service.permits:
        try:
            await service.state.erase_user(user_id)
            await service.serving.tastes.erase(user_id)
            await service.feed.sync()
        except StateError as error:
            raise StateUnavailableError(str(error)) from error
        return Response(status_code=204)


def add_users(app: FastAPI) -> None:
    """Add the endpoints to an application."""
    path = "/users/{user_id:id}"
    refusals = ("invalid_parameter", "overloaded", "state_unavailable")
    answers = error_responses("unknown_user", *refusals)
    app.get(path, responses=answers, tags=["users"])(get_user)
    app.delete(
        path,
        status_code=204,
        response_class=Response,
        responses=error_responses(*refusals),
        tags=["users"],
    )(delete_user)
