"""Prometheus metrics that every service has, in the default registry; services add their own there."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST, Histogram, generate_latest

__all__ = ["HTTP_CLIENT_SECONDS", "HTTP_SERVER_SECONDS", "METRICS_CONTENT_TYPE", "render_metrics"]

METRICS_CONTENT_TYPE = CONTENT_TYPE_LATEST

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

HTTP_SERVER_SECONDS = Histogram(
    "algodock_http_server_seconds",
    "Time to answer a request, by route template",
    ("method", "route", "status"),
    buckets=_BUCKETS,
)
HTTP_CLIENT_SECONDS = Histogram(
    "algodock_http_client_seconds",
    "Time of a call to another service; status 0 means no answer",
    ("method", "peer", "status"),
    buckets=_BUCKETS,
)


def render_metrics() -> bytes:
    """Return the default registry in Prometheus' text format."""
    return generate_latest()
