"""One shape for every line: ours, Celery's, kombu's and SQLAlchemy's. Colours on a terminal, JSON elsewhere."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from ticket_worker.destinations import MASK, Mask

_MASK = MASK
_SECRET_KEY = re.compile(r"password|passwd|secret|token|api_?key|authorization|credential", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"(?<=://)([^/\s:@]*):([^/\s@]+)@")

#: Say so much per tick that a fleet with nothing to do fills a disk; what they tell at `info`, our lines tell better.
_CHATTY = (
    "celery.worker.strategy",
    "celery.app.trace",
    "celery.beat",
    "kombu",
    "sqlalchemy.engine",
    "alembic",
)
#: Write whole addresses, tokens included, or what customers wrote, at `debug`.
_INDISCREET = ("apprise", "celery.pool", "celery.worker.request", "requests", "urllib3")


def configure_logging(level: str = "info", style: str = "auto", *, hidden: Iterable[str] = ()) -> None:
    """Send every line of this process to stderr in one shape, `hidden` strings masked; may be called again."""
    coloured = style == "console" or (style == "auto" and sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    ending: list[Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        # Before redaction: a traceback, too, may quote a URL. And no variables in it, whatever they are called.
        structlog.processors.format_exc_info,
        redact,
        _Hide(hidden),
        _told_first,
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=24
        )
        if coloured
        else structlog.processors.JSONRenderer(ensure_ascii=False),
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=ending))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.NOTSET if level == "debug" else logging.WARNING)
    for name in _INDISCREET:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        # Loggers stand at module level and are first used before a process has read its settings.
        cache_logger_on_first_use=False,
    )


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Mask passwords in URLs, wherever they stand, and every value whose name says that it is a secret."""
    return {key: _MASK if _SECRET_KEY.search(key) else _redacted(value) for key, value in event.items()}


class _Hide:
    """Masks strings that are secret by themselves, wherever they stand."""

    def __init__(self, hidden: Iterable[str]) -> None:
        self._mask = Mask(hidden)

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {key: self._masked(value) for key, value in event.items()}

    def _masked(self, value: Any) -> Any:
        match value:
            case None | bool() | int() | float():
                return value
            case str():
                return self._mask(value)
            case Mapping():
                return {key: self._masked(item) for key, item in value.items()}
            case list() | tuple():
                return [self._masked(item) for item in value]
            case _:
                # What the renderer would make of it.
                return self._mask(repr(value))


def _told_first(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Put first what a person looks for first."""
    first = {key: event.pop(key) for key in ("timestamp", "level", "event") if key in event}
    return {**first, **event}


def _redacted(value: Any) -> Any:
    match value:
        case str():
            return _URL_PASSWORD.sub(rf"\1:{_MASK}@", value)
        case Mapping():
            return redact(None, "", dict(value))
        case list() | tuple():
            return [_redacted(item) for item in value]
        case _:
            return value
