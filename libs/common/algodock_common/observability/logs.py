"""Structured logs: one JSON object a line on standard output, with service, trace id and event id.

The standard library's loggers (uvicorn, aiokafka, SQLAlchemy) go through the same chain.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final

import structlog

from algodock_common.observability.tracing import current_trace_id

if TYPE_CHECKING:
    from algodock_common.settings import LogSettings

__all__ = ["log_context", "set_log_level", "setup_logging"]

_LEVELS: Final[Mapping[str, int]] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_SECRET: Final = re.compile(r"authorization|password|secret|token|api_key|private_key|cookie", re.IGNORECASE)
# Libraries whose information is noise to whoever runs the platform; their warnings are not.
_QUIET: Final = ("aiokafka", "httpx", "httpcore", "faststream", "alembic", "urllib3", "asyncio", "uvicorn.error")

_threshold = logging.INFO


class _StandardOutput:
    """Writes to what ``sys.stdout`` is now, so that a replaced one is honoured."""

    def msg(self, message: str) -> None:
        sys.stdout.write(message + "\n")
        sys.stdout.flush()

    log = debug = info = warning = error = critical = exception = msg


class _StandardLibraryHandler(logging.Handler):
    """Passes records of the standard library's loggers into structlog's chain."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            extra = {"exc_info": record.exc_info} if record.exc_info else {}
            level = max((value for value in _LEVELS.values() if value <= record.levelno), default=logging.DEBUG)
            structlog.get_logger().log(level, record.getMessage(), logger=record.name, **extra)
        except Exception:  # noqa: BLE001  # the protocol of logging.Handler: a bad record must not hurt its caller
            self.handleError(record)


def _drop_below_threshold(_logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if _LEVELS.get(method, logging.ERROR) < _threshold:
        raise structlog.DropEvent
    return event


def _add_trace(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    trace_id = current_trace_id()
    if trace_id is not None:
        event.setdefault("trace_id", trace_id)
    return event


def _mask_secrets(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name in event:
        if _SECRET.search(name):
            event[name] = "***"
    return event


def setup_logging(settings: LogSettings, *, service: str) -> None:
    """Send every log line of this process through one chain; safe to call again."""
    set_log_level(settings.level)
    renderer: list[Any] = (
        # As text: the structured form carries every frame's locals, credentials among them.
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
        if settings.format == "json"
        else [
            structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty(), exception_formatter=structlog.dev.plain_traceback)
        ]
    )

    def _add_service(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["service"] = service
        return event

    structlog.configure(
        processors=[
            _drop_below_threshold,
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _add_service,
            _add_trace,
            _mask_secrets,
            *renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=lambda *_: _StandardOutput(),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers = [_StandardLibraryHandler()]
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def set_log_level(level: str) -> None:
    """Change the level while the process runs: debug, info, warning or error.

    Raises:
        KeyError: there is no such level.
    """
    global _threshold  # noqa: PLW0603  # one level a process
    _threshold = _LEVELS[level]
    logging.getLogger().setLevel(_threshold)


def log_context(**values: object) -> AbstractContextManager[Any]:
    """Add fields (such as ``event_id``) to every line logged inside the ``with`` block."""
    return structlog.contextvars.bound_contextvars(**values)
