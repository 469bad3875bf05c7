"""Trace contexts and spans: W3C trace context on every wire, spans only where the trace is sampled.

One context variable says where we are. An unsampled trace costs a parse and a set at the inlet and
nothing further in; a sampled span is a small record that ``exporters`` turns into OTLP or JSON lines.
Sources: https://www.w3.org/TR/trace-context/ and OpenTelemetry's ``TraceIdRatioBased`` sampler.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Iterable
from contextvars import ContextVar, Token
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, Protocol, Self

if TYPE_CHECKING:
    from algodock_common.settings import TelemetrySettings

__all__ = [
    "SpanContext",
    "SpanExporter",
    "SpanHandle",
    "SpanKind",
    "SpanRecord",
    "current_trace_id",
    "current_traceparent",
    "flush_tracing",
    "setup_tracing",
    "span",
    "use_exporters",
]

SpanKind = Literal["internal", "server", "client", "producer", "consumer"]
AttributeValue = str | int | float | bool

_TRACEPARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_INLETS: Final = frozenset({"server", "consumer"})
_random = random.Random()  # noqa: S311  # ids have to be unlikely to meet, not hard to guess


class SpanContext:
    """Where a span stands: ids as integers and whether its trace is recorded."""

    __slots__ = ("sampled", "span_id", "trace_id")

    def __init__(self, trace_id: int, span_id: int, *, sampled: bool) -> None:
        """Hold the parts of one ``traceparent``."""
        self.trace_id = trace_id
        self.span_id = span_id
        self.sampled = sampled

    @classmethod
    def parse(cls, traceparent: str | None) -> Self | None:
        """Read a ``traceparent``; None when there is none or it is not valid."""
        match = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
        if match is None or match[1] == "ff" or (match[1] == "00" and match[5]):
            return None
        trace_id, span_id = int(match[2], 16), int(match[3], 16)
        if not trace_id or not span_id:
            return None
        return cls(trace_id, span_id, sampled=bool(int(match[4], 16) & 1))

    @property
    def traceparent(self) -> str:
        """Return the context as a ``traceparent`` header value."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{'01' if self.sampled else '00'}"


class SpanHandle(Protocol):
    """What ``with span(…) as handle`` gives: the same whether the trace is recorded or not."""

    name: str

    @property
    def recording(self) -> bool:
        """Whether attributes are worth computing."""
        ...

    def set(self, **attributes: AttributeValue | None) -> None:
        """Set attributes; a ``__`` in a name stands for a dot, None is left out."""

    def link(self, traceparent: str | None) -> None:
        """Link another trace's span; None and invalid ones are left out."""

    def fail(self, message: str) -> None:
        """Mark the span as failed, without an exception."""

    def __enter__(self) -> Self:
        """Make the span the current one."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the span; an exception marks it failed and goes on."""


class SpanExporter(Protocol):
    """Takes ended spans; never blocks for long and never raises."""

    def export(self, record: SpanRecord) -> None:
        """Take one ended span."""

    def flush(self) -> None:
        """Send what is held; called when the process ends."""


class _Tracer:
    """This process's service name, sampling bound and exporters."""

    __slots__ = ("bound", "exporters", "service")

    def __init__(self, service: str, ratio: float, exporters: tuple[SpanExporter, ...]) -> None:
        self.service = service
        self.bound = round(ratio * 2**64) if exporters else 0
        self.exporters = exporters


_tracer = _Tracer("unknown", 0.0, ())
_current: ContextVar[SpanContext | None] = ContextVar("algodock_span", default=None)


class SpanRecord:
    """A recorded span, current while its ``with`` block runs, exported at its end. Times are Unix ns."""

    __slots__ = (
        "_token",
        "attributes",
        "context",
        "end_ns",
        "error",
        "kind",
        "links",
        "name",
        "parent_id",
        "service",
        "start_ns",
    )

    recording = True

    def __init__(self, name: str, kind: SpanKind, context: SpanContext, parent_id: int | None) -> None:
        self.name = name
        self.kind = kind
        self.context = context
        self.parent_id = parent_id
        self.service = _tracer.service
        self.links: list[SpanContext] = []
        self.attributes: dict[str, AttributeValue] = {}
        self.error: str | None = None
        self.start_ns = 0
        self.end_ns = 0
        self._token: Token[SpanContext | None] | None = None

    def set(self, **attributes: AttributeValue | None) -> None:
        """Set attributes; a ``__`` in a name stands for a dot, None is left out."""
        for name, value in attributes.items():
            if value is not None:
                self.attributes[name.replace("__", ".")] = value

    def link(self, traceparent: str | None) -> None:
        """Link another trace's span; None and invalid ones are left out."""
        context = SpanContext.parse(traceparent)
        if context is not None:
            self.links.append(context)

    def fail(self, message: str) -> None:
        """Mark the span as failed, without an exception."""
        self.error = message

    def __enter__(self) -> Self:
        self._token = _current.set(self.context)
        self.start_ns = time.time_ns()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end_ns = time.time_ns()
        _restore(self._token)
        if isinstance(error, asyncio.CancelledError):
            self.attributes["cancelled"] = True
        elif error is not None:
            self.attributes["error.type"] = type(error).__qualname__
            self.error = self.error or str(error)
        for exporter in _tracer.exporters:
            exporter.export(self)


class _Unrecorded:
    """A span of a trace that is not sampled: it only carries the context onwards."""

    __slots__ = ("_context", "_token", "name")

    recording = False

    def __init__(self, context: SpanContext) -> None:
        self.name = ""
        self._context = context
        self._token: Token[SpanContext | None] | None = None

    def set(self, **attributes: AttributeValue | None) -> None:
        """Do nothing."""

    def link(self, traceparent: str | None) -> None:
        """Do nothing."""

    def fail(self, message: str) -> None:
        """Do nothing."""

    def __enter__(self) -> Self:
        self._token = _current.set(self._context)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _restore(self._token)


def _restore(token: Token[SpanContext | None] | None) -> None:
    if token is None:
        return
    try:
        _current.reset(token)
    except ValueError:
        # A streamed response's generator may be closed by the loop in a context of its own.
        _current.set(None)


def span(
    name: str,
    *,
    parent: str | None = None,
    links: Iterable[str | None] = (),
    kind: SpanKind = "internal",
    **attributes: AttributeValue | None,
) -> SpanHandle:
    """Return a span to be used with ``with``.

    ``parent`` is a traceparent. Without one the span continues the current one; a ``server`` or
    ``consumer`` span begins a trace instead, because nothing in this process caused it.
    """
    above = SpanContext.parse(parent) if parent else None
    if above is None and kind not in _INLETS:
        above = _current.get()
    if above is None:
        trace_id = _random.getrandbits(128) or 1
        sampled = (trace_id & 0xFFFFFFFFFFFFFFFF) < _tracer.bound
    else:
        if not above.sampled:
            return _Unrecorded(above)
        trace_id, sampled = above.trace_id, True
    context = SpanContext(trace_id, _random.getrandbits(64) or 1, sampled=sampled)
    if not sampled or not _tracer.exporters:
        return _Unrecorded(context)
    record = SpanRecord(name, kind, context, above.span_id if above else None)
    if attributes:
        record.set(**attributes)
    for traceparent in links:
        record.link(traceparent)
    return record


def current_traceparent() -> str | None:
    """Return the current span's ``traceparent``, for a header or an envelope."""
    context = _current.get()
    return None if context is None else context.traceparent


def current_trace_id() -> str | None:
    """Return the current trace's id, 32 hexadecimal digits."""
    context = _current.get()
    return None if context is None else f"{context.trace_id:032x}"


def setup_tracing(settings: TelemetrySettings, *, service: str) -> None:
    """Sample ``settings.sample_ratio`` of the traces that begin here and send spans where it says."""
    exporters: list[SpanExporter] = []
    if settings.traces_dir is not None:
        from algodock_common.observability.exporters import JsonLinesExporter  # only when used

        exporters.append(JsonLinesExporter(settings.traces_dir, service=service))
    if settings.exporter_otlp_endpoint:
        from algodock_common.observability.exporters import OtlpExporter  # the SDK costs 10 MB

        exporters.append(OtlpExporter(settings.exporter_otlp_endpoint, service=service))
    use_exporters(service, settings.sample_ratio, *exporters)


def use_exporters(service: str, sample_ratio: float, *exporters: SpanExporter) -> None:
    """Replace this process's tracer; what ``setup_tracing`` does, with exporters of the caller's choice."""
    global _tracer  # noqa: PLW0603  # one tracer a process, as the current span is one a context
    flush_tracing()
    _tracer = _Tracer(service, sample_ratio, exporters)


def flush_tracing() -> None:
    """Send what the exporters hold; called when a process ends."""
    for exporter in _tracer.exporters:
        exporter.flush()
