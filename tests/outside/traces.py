"""The traces that really arrived, as edges between services."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Edge", "Traces"]


@dataclass(frozen=True, slots=True, order=True)
class Edge:
    """One service caused what another did; ``by`` is the topic, or ``http``."""

    source: str
    by: str
    target: str


class Traces:
    """Every span of one platform, read anew for each question."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, service: str, attribute: str, value: str) -> set[str]:
        """Return the traces in which a span of this service has this attribute."""
        spans = (span for span in self._spans() if span["service"] == service)
        return {span["trace_id"] for span in spans if span["attributes"].get(attribute) == value}

    def edges(self, trace_id: str) -> set[Edge]:
        """Return the edges of one trace: a server or consumer span whose cause lies in another service."""
        spans = {span["span_id"]: span for span in self._spans() if span["trace_id"] == trace_id}
        found: set[Edge] = set()
        for span in spans.values():
            cause = spans.get(span["parent_span_id"] or "")
            if cause is not None and span["kind"] in {"server", "consumer"}:
                by = span["attributes"].get("messaging.destination.name", "http")
                found.add(Edge(cause["service"], by, span["service"]))
        return found

    def names(self, trace_id: str) -> dict[str, set[str]]:
        """Return the names of one trace's spans by service."""
        names: dict[str, set[str]] = defaultdict(set)
        for span in self._spans():
            if span["trace_id"] == trace_id:
                names[span["service"]].add(span["name"])
        return dict(names)

    def links(self, trace_id: str) -> set[str]:
        """Return the traces that spans of this one link to."""
        return {link["trace_id"] for span in self._spans() if span["trace_id"] == trace_id for link in span["links"]}

    def _spans(self) -> list[dict[str, Any]]:
        spans: list[dict[str, Any]] = []
        for path in self._folder.glob("*.jsonl"):
            # A line without its end is being written right now.
            spans += [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return spans
