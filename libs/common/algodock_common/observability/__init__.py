"""What a service shows of itself: structured logs, traces, metrics."""

from structlog import get_logger

from algodock_common.observability.logs import log_context, set_log_level, setup_logging
from algodock_common.observability.tracing import (
    SpanContext,
    SpanHandle,
    current_trace_id,
    current_traceparent,
    flush_tracing,
    setup_tracing,
    span,
)

__all__ = [
    "SpanContext",
    "SpanHandle",
    "current_trace_id",
    "current_traceparent",
    "flush_tracing",
    "get_logger",
    "log_context",
    "set_log_level",
    "setup_logging",
    "setup_tracing",
    "span",
]
