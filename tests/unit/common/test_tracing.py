"""Trace contexts and spans."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from algodock_common.observability import current_trace_id, current_traceparent, setup_tracing, span
from algodock_common.observability.tracing import SpanContext, SpanRecord, use_exporters
from algodock_common.settings import TelemetrySettings

SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = SAMPLED[:-1] + "0"
TRACE_ID = SAMPLED[3:35]


class Kept:
    """An exporter that keeps what it is given."""

    def __init__(self) -> None:
        self.spans: list[SpanRecord] = []

    def export(self, record: SpanRecord) -> None:
        self.spans.append(record)

    def flush(self) -> None:
        pass


@pytest.fixture
def kept() -> Iterator[Kept]:
    exporter = Kept()
    use_exporters("registry", 1.0, exporter)
    yield exporter
    use_exporters("unknown", 0.0)


def test_without_a_span_there_is_no_trace() -> None:
    assert current_traceparent() is None
    assert current_trace_id() is None


@pytest.mark.parametrize("header", [SAMPLED, UNSAMPLED])
def test_a_traceparent_is_read_and_written_unchanged(header: str) -> None:
    context = SpanContext.parse(header)

    assert context is not None
    assert context.traceparent == header


def test_a_later_version_with_more_fields_is_read() -> None:
    context = SpanContext.parse("01" + SAMPLED[2:] + "-more")

    assert context is not None
    assert context.traceparent == SAMPLED


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "nonsense",
        SAMPLED.upper(),
        SAMPLED + "-more",
        "ff" + SAMPLED[2:],
        "00-" + "0" * 32 + "-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-" + "0" * 16 + "-01",
        " " + SAMPLED,
        SAMPLED + "\n",
    ],
)
def test_an_invalid_traceparent_is_as_good_as_none(header: str | None) -> None:
    assert SpanContext.parse(header) is None


def test_a_span_continues_the_trace_of_its_parent(kept: Kept) -> None:
    with span("GET /x", parent=SAMPLED, kind="server"):
        assert current_trace_id() == TRACE_ID
        with span("build"):
            pass

    build, server = kept.spans
    assert server.parent_id == 0xB7AD6B7169203331
    assert build.parent_id == server.context.span_id
    assert build.context.trace_id == server.context.trace_id
    assert (server.service, server.kind, build.kind) == ("registry", "server", "internal")


def test_the_callers_decision_not_to_sample_holds(kept: Kept) -> None:
    with span("GET /x", parent=UNSAMPLED, kind="server") as handle:
        assert not handle.recording
        assert current_traceparent() == UNSAMPLED
        with span("inner"):
            assert current_traceparent() == UNSAMPLED

    assert kept.spans == []


def test_an_inlet_without_parent_begins_a_trace_of_its_own(kept: Kept) -> None:
    with span("outer"), span("code.pushed", kind="consumer"):
        pass

    consumer, outer = kept.spans
    assert consumer.context.trace_id != outer.context.trace_id
    assert consumer.parent_id is None


def test_an_unsampled_trace_has_an_id_for_the_logs_all_the_same() -> None:
    with span("GET /x", kind="server"):
        traceparent = current_traceparent()

    assert traceparent is not None
    assert traceparent.endswith("-00")


def test_the_share_of_sampled_traces_is_the_configured_one(kept: Kept) -> None:
    use_exporters("registry", 0.25, kept)

    for _ in range(4000):
        with span("GET /x", kind="server"):
            pass

    assert 800 < len(kept.spans) < 1200


def test_attributes_and_links_are_kept_and_empty_ones_left_out(kept: Kept) -> None:
    with span("run", links=[SAMPLED, None, "nonsense"], http__route="/x", release=None) as handle:
        handle.set(attempt=2, reason=None)

    (record,) = kept.spans
    assert record.attributes == {"http.route": "/x", "attempt": 2}
    assert [link.traceparent for link in record.links] == [SAMPLED]


def test_an_exception_marks_the_span_and_goes_on(kept: Kept) -> None:
    with pytest.raises(ValueError, match="bad"), span("run"):
        raise ValueError("bad")

    assert kept.spans[0].error == "bad"
    assert kept.spans[0].attributes == {"error.type": "ValueError"}


async def test_a_cancelled_span_is_no_failure(kept: Kept) -> None:
    with pytest.raises(asyncio.CancelledError), span("wait"):
        raise asyncio.CancelledError

    assert kept.spans[0].error is None
    assert kept.spans[0].attributes == {"cancelled": True}


async def test_tasks_inherit_the_span_and_do_not_disturb_each_other(kept: Kept) -> None:
    async def work(name: str) -> str | None:
        with span(name):
            await asyncio.sleep(0)
            return current_trace_id()

    with span("GET /x", kind="server"):
        ids = set(await asyncio.gather(work("a"), work("b"), work("c")))
        assert ids == {current_trace_id()}

    server = kept.spans[-1]
    assert {record.parent_id for record in kept.spans[:-1]} == {server.context.span_id}


def test_spans_are_written_as_json_lines(tmp_path: Path) -> None:
    folder = tmp_path / "traces"
    setup_tracing(TelemetrySettings(sample_ratio=1, traces_dir=folder), service="runner")
    try:
        with span("POST /internal/tasks", parent=SAMPLED, links=[UNSAMPLED], kind="server", task="t1"):
            pass
        with pytest.raises(ValueError, match="no"), span("call"):
            raise ValueError("no")
    finally:
        use_exporters("unknown", 0.0)

    (file,) = folder.iterdir()
    first, second = (json.loads(line) for line in file.read_text().splitlines())
    assert file.name.startswith("runner-")
    assert first["trace_id"] == TRACE_ID
    assert first["parent_span_id"] == SAMPLED[36:52]
    assert first["attributes"] == {"task": "t1"}
    assert first["links"] == [{"trace_id": TRACE_ID, "span_id": SAMPLED[36:52]}]
    assert first["end_ns"] >= first["start_ns"] > 0
    assert (second["parent_span_id"], second["error"], second["service"]) == (None, "no", "runner")
