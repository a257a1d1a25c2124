"""`POST /events`: what users did, as it happens."""

from datetime import UTC, datetime
from time import time

from fastapi import FastAPI

from bundle.events import Event
from service.errors import StateUnavailableError
from service.postings import NewEvents, PostedEvent
from service.responses import error_responses
from service.running import CurrentService, Service
from service.schemas import EventsKept
from service.state import NewEvent, StateError


async def add_events(body: NewEvents, service: CurrentService) -> EventsKept:
    """Keep interactions; they are durable before the answer and count in the next request.

    An event with an idempotency `key` is kept once, however often it is sent: after 503 it is not
    known whether it was kept, so send it again with the same key. Items and users may be unknown.
    """
    with service.permits:
        for number, posted in enumerate(body.events):
            service.check_id(posted.user_id, f"events.{number}.user_id")
            service.check_id(posted.item_id, f"events.{number}.item_id")
        events = [_event(posted, service) for posted in body.events]
        try:
            is_new = await service.state.add_events(events)
        except StateError as error:
            service.metrics.events.labels("refused").inc(len(events))
            raise StateUnavailableError(str(error)) from error
        accepted = sum(is_new)
        service.metrics.events.labels("accepted").inc(accepted)
        service.metrics.events.labels("repeated").inc(len(events) - accepted)
        return EventsKept(accepted=accepted, repeated=len(events) - accepted)


def _event(posted: PostedEvent, service: Service) -> NewEvent:
    weight = posted.weight
    if weight is None:
        weight = service.settings.event_weights.get(posted.type, 1.0)
    timestamp = _seconds(posted.timestamp) if posted.timestamp else time()
    arm = service.experiment.arm(posted.user_id) if service.experiment else None
    label = arm.label if arm else None
    event = Event(posted.user_id, posted.item_id, posted.type, timestamp, weight, label)
    return NewEvent(event, posted.key)


def _seconds(moment: datetime) -> float:
    """Since 1970; without a time zone it is UTC."""
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def add_event_log(app: FastAPI) -> None:
    """Add the endpoint to an application."""
    app.post(
        "/events",
        status_code=202,
        responses=error_responses(
            "invalid_parameter", "body_too_large", "overloaded", "state_unavailable"
        ),
        tags=["events"],
    )(add_events)
