"""Structured logs: one JSON object per line on stderr, with the request's id if there is one.

User ids and API keys are never logged.
"""

import logging
import sys
from contextlib import suppress
from contextvars import ContextVar
from typing import TextIO, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from service.redaction import without_keys

REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)
"""Id of the current request."""

LOGGER: FilteringBoundLogger = structlog.get_logger()


def _add_request_id(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    request_id = REQUEST_ID.get()
    if request_id is not None:
        event["request_id"] = request_id
    return event


def _to_line(logger: WrappedLogger, method: str, event: EventDict) -> str:
    line = structlog.processors.JSONRenderer()(logger, method, event)
    return without_keys(str(line))


class LogStream:
    """stderr without its errors: a full disk must not fail the requests that are logged."""

    def write(self, line: str) -> None:
        """Write a line, if that is possible."""
        with suppress(OSError):
            sys.stderr.write(line)

    def flush(self) -> None:
        """Flush, if that is possible."""
        with suppress(OSError):
            sys.stderr.flush()


def configure_logs(level: str) -> None:
    """Write events of structlog and of `logging` (uvicorn, libraries) to stderr as JSON."""
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
        # Each line, with its end, in one write: the workers share the stream.
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, LogStream())),
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
    # Nothing below a warning from libraries: debug lines of uvicorn contain ids, those of object
    # store clients contain tokens.
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)
