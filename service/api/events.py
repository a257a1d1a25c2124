"""`/events`: interactions as they happen."""

from datetime import UTC, datetime
from time import time

from bundle.events.records import Event
from bundle.events.weights import weight_of_type
from service.api.dependencies import CurrentRuntime, Limited, state_errors
from service.api.openapi_errors import error_responses
from service.engine.runtime import Runtime
from service.errors import StateUnavailableError
from service.http.fast_route import ResourceRouter
from service.http.parameters import check_id
from service.schemas.events import EventBatch, EventIn, EventsAccepted
from service.state.base import NewEvent

router = ResourceRouter("events", dependencies=[Limited])


@router.post(
    "/events",
    summary="Store interactions",
    status_code=202,
    responses=error_responses(
        "invalid_parameter", "body_too_large", "overloaded", "state_unavailable"
    ),
)
async def add_events(body: EventBatch, runtime: CurrentRuntime) -> EventsAccepted:
    """Store interactions. They are durable before the response and count in the next request.

    An event with an idempotency `key` is stored once, however often it is sent. After a 503 it is
    not known whether the events were stored: send them again with the same keys. Items and users
    may be unknown.
    """
    longest = runtime.settings.max_id_length
    for number, event in enumerate(body.events):
        check_id(event.user_id, f"events.{number}.user_id", longest)
        check_id(event.item_id, f"events.{number}.item_id", longest)
    events = [_new_event(event, runtime) for event in body.events]
    try:
        with state_errors():
            is_new = await runtime.state.add_events(events)
    except StateUnavailableError:
        runtime.metrics.events.labels("refused").inc(len(events))
        raise
    if runtime.outcomes is not None:
        for new, stored in zip(events, is_new, strict=True):
            if stored:
                runtime.outcomes.follow(new.event)
    accepted = sum(is_new)
    runtime.metrics.events.labels("accepted").inc(accepted)
    runtime.metrics.events.labels("repeated").inc(len(events) - accepted)
    return EventsAccepted(accepted=accepted, repeated=len(events) - accepted)


def _new_event(event: EventIn, runtime: Runtime) -> NewEvent:
    weight = event.weight
    if weight is None:
        weight = weight_of_type(event.type, runtime.settings.event_weights)
    timestamp = _seconds(event.timestamp) if event.timestamp else time()
    arm = runtime.arm_of(event.user_id)
    label = arm.label if arm else None
    stored = Event(event.user_id, event.item_id, event.type, timestamp, weight, label)
    return NewEvent(stored, event.key)


def _seconds(moment: datetime) -> float:
    """Seconds since 1970; a moment without a time zone is in UTC."""
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
