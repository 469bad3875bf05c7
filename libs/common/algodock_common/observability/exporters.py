"""Where ended spans go: a folder of JSON lines (tests, a laptop) or OTLP over HTTP (a collector)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext as OtelSpanContext

    from algodock_common.observability.tracing import SpanRecord

__all__ = ["JsonLinesExporter", "OtlpExporter"]


class JsonLinesExporter:
    """Appends each span as one line to ``<folder>/<service>-<pid>.jsonl``.

    A line is written by one ``write`` to a file opened for appending: what a killed process had
    ended is all there, and no line is torn. Ids are hexadecimal, times Unix nanoseconds.
    """

    def __init__(self, folder: Path, *, service: str) -> None:
        """Make the folder and open the file.

        Raises:
            OSError: the folder cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{service}-{os.getpid()}.jsonl"
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def export(self, record: SpanRecord) -> None:
        """Write one line."""
        context = record.context
        line = {
            "trace_id": f"{context.trace_id:032x}",
            "span_id": f"{context.span_id:016x}",
            "parent_span_id": None if record.parent_id is None else f"{record.parent_id:016x}",
            "name": record.name,
            "kind": record.kind,
            "service": record.service,
            "start_ns": record.start_ns,
            "end_ns": record.end_ns,
            "error": record.error,
            "attributes": record.attributes,
            "links": [
                {"trace_id": f"{link.trace_id:032x}", "span_id": f"{link.span_id:016x}"} for link in record.links
            ],
        }
        os.write(self._file, json.dumps(line, separators=(",", ":")).encode() + b"\n")

    def flush(self) -> None:
        """Do nothing: each line is written at once."""


class OtlpExporter:
    """Sends spans in batches to an OpenTelemetry collector, from the SDK's own background thread."""

    def __init__(self, endpoint: str, *, service: str) -> None:
        """Prepare the SDK's batch processor; ``endpoint`` is the collector's base URL."""
        from opentelemetry import trace as api  # late: 0.3 CPU-seconds and 10 MB
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        self._api = api
        self._span = ReadableSpan
        self._scope = InstrumentationScope("algodock")
        self._resource = Resource.create({"service.name": service})
        self._kinds = {kind.name.lower(): kind for kind in api.SpanKind}
        url = f"{endpoint.rstrip('/')}/v1/traces"
        self._processor = BatchSpanProcessor(OTLPSpanExporter(endpoint=url, timeout=5))

    def export(self, record: SpanRecord) -> None:
        """Hand one span to the batch; a full batch drops it rather than waits."""
        api = self._api
        failed = record.error is not None
        self._processor.on_end(
            self._span(
                name=record.name,
                context=self._context(record.context.trace_id, record.context.span_id, remote=False),
                parent=None
                if record.parent_id is None
                else self._context(record.context.trace_id, record.parent_id, remote=True),
                resource=self._resource,
                attributes=record.attributes,
                links=[api.Link(self._context(link.trace_id, link.span_id, remote=True)) for link in record.links],
                kind=self._kinds[record.kind],
                status=api.Status(api.StatusCode.ERROR, record.error) if failed else api.Status(),
                start_time=record.start_ns,
                end_time=record.end_ns,
                instrumentation_scope=self._scope,
            )
        )

    def flush(self) -> None:
        """Send what is held, for at most five seconds."""
        self._processor.force_flush(5_000)

    def _context(self, trace_id: int, span_id: int, *, remote: bool) -> OtelSpanContext:
        flags = self._api.TraceFlags(self._api.TraceFlags.SAMPLED)
        return self._api.SpanContext(trace_id, span_id, is_remote=remote, trace_flags=flags)
