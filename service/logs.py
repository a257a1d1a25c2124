"""Structured logs: one JSON object a line on stderr, with the request's id where there is one.

User ids are not logged, and API keys are not, wherever they came from.
"""

import logging
import sys
from contextvars import ContextVar

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from service.key_text import without_keys

REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)

LOGGER: FilteringBoundLogger = structlog.get_logger()


def _add_request_id(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    request_id = REQUEST_ID.get()
    if request_id is not None:
        event["request_id"] = request_id
    return event


def _to_line(logger: WrappedLogger, method: str, event: EventDict) -> str:
    line = structlog.processors.JSONRenderer()(logger, method, event)
    return without_keys(str(line))


def configure_logs(level: str) -> None:
    """Send structlog's events and those of `logging` (uvicorn, libraries) to stderr as JSON."""
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_request_id,
        structlog.processors.format_exc_info,
    ]
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, _to_line],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        # A line and its end in one write: the workers share the stream.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _to_line,
            ],
        )
    )
    # Of libraries nothing below a warning: uvicorn's debug lines show ids in paths, those of
    # object stores' clients show tokens.
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)
