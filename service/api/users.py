"""`/users`: what is known of a user, and erasure."""

from fastapi import Response

from service.api.dependencies import (
    CurrentRuntime,
    Limited,
    UserIdPath,
    state_errors,
)
from service.api.openapi_errors import error_responses
from service.errors import UnknownUserError
from service.http.fast_route import ResourceRouter
from service.schemas.users import User, UserEvent

router = ResourceRouter("users", dependencies=[Limited])


@router.get(
    "/users/{user_id:id}",
    summary="Get what is known of a user",
    responses=error_responses(
        "unknown_user", "invalid_parameter", "overloaded", "state_unavailable"
    ),
)
async def get_user(user_id: UserIdPath, runtime: CurrentRuntime) -> User:
    """The user's interactions in the bundle, and newer events."""
    engine = runtime.engine
    with state_errors():
        recent = await runtime.state.user(user_id)
    bundle = engine.bundle
    user_idx = engine.profiles.user_idx(user_id, recent.erased)
    if user_idx is None and not recent.events:
        raise UnknownUserError("user_id: there is no such user", "user_id")
    seen = [] if user_idx is None else bundle.seen.row(user_idx).tolist()
    return User(
        user_id=user_id,
        bundle_version=bundle.version,
        trained=user_idx is not None,
        interactions=[bundle.items[row] for row in seen],
        events=[
            UserEvent(
                item_id=event.item_id,
                type=event.type,
                timestamp=event.timestamp,
                weight=event.weight,
            )
            for event in recent.events
        ],
    )


@router.delete(
    "/users/{user_id:id}",
    summary="Erase a user",
    status_code=204,
    response_class=Response,
    responses=error_responses("invalid_parameter", "overloaded", "state_unavailable"),
)
async def delete_user(user_id: UserIdPath, runtime: CurrentRuntime) -> Response:
    """Erase a user: events, vectors, rankings at once, interactions in bundles by the next refresh.

    Until then the user is treated as unknown to the bundle.
    """
    with state_errors():
        await runtime.state.erase_user(user_id)
        await runtime.feed.sync()
    return Response(status_code=204)
