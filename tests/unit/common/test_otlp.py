"""Spans as an OpenTelemetry collector receives them."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from algodock_common.observability import flush_tracing, setup_tracing, span
from algodock_common.observability.tracing import use_exporters
from algodock_common.settings import TelemetrySettings

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def collector() -> Iterator[tuple[str, list[Any]]]:
    received: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            received.append((self.path, ExportTraceServiceRequest.FromString(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", received
    server.shutdown()
    server.server_close()


def test_a_collector_gets_spans_with_parent_links_status_and_service(collector: tuple[str, list[Any]]) -> None:
    url, received = collector
    setup_tracing(TelemetrySettings(sample_ratio=1, exporter_otlp_endpoint=url), service="deployer")
    try:
        with pytest.raises(ValueError, match="no"), span("build", parent=PARENT, links=[PARENT], commit="abc"):
            raise ValueError("no")
        flush_tracing()
    finally:
        use_exporters("unknown", 0.0)

    (path, request), *_ = received
    (resource,) = request.resource_spans
    assert path == "/v1/traces"
    assert "deployer" in [a.value.string_value for a in resource.resource.attributes if a.key == "service.name"]
    (sent,) = resource.scope_spans[0].spans
    assert sent.trace_id.hex() == PARENT[3:35]
    assert sent.parent_span_id.hex() == PARENT[36:52]
    assert sent.links[0].span_id.hex() == PARENT[36:52]
    assert (sent.name, sent.status.message) == ("build", "no")
    assert {a.key: a.value.string_value for a in sent.attributes} == {"commit": "abc", "error.type": "ValueError"}
