"""Tasks listed, watched and told step by step, as a person reads them and as a program does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from algodock_cli.client import task_events
from tests.unit.cli.client.conftest import failure

if TYPE_CHECKING:
    from tests.unit.cli.client.conftest import FakeGateway, Run

EVENTS = "GET /api/v1/tasks/t1/events"
SSE = "text/event-stream"


def task(id_: str, state: str = "succeeded", **more: Any) -> dict[str, Any]:
    base = {"id": id_, "state": state, "algorithm": "echo", "attempt": 1, "created_at": "2026-01-01T00:00:00.123456Z"}
    return base | {"error": None} | more


def event(id_: str, name: str, **data: Any) -> bytes:
    return f"id: {id_}\nevent: {name}\ndata: {json.dumps(data)}\n\n".encode()


def step(index: int, state: str, **more: Any) -> dict[str, Any]:
    base: dict[str, Any] = {"index": index, "state": state, "at": "2026-01-01T00:00:00Z", "attempt": 1, "reason": None}
    return base | {"instance_id": None, "commit": "", "config_version": None, "error": None} | more


BEGIN = (
    b"retry: 1000\n\n"
    + event("0/0-0", "state", **step(0, "accepted", attempt=0))
    + b": \n\n"
    + event("0/1-0", "progress", attempt=1, progress=0.5, message="half")
    + event("0/2-0", "log", attempt=1, level="WARNING", message="hot")
    + event("0/3-0", "output", attempt=1, output={"a": "ü"})
    + event("0/4-0", "output", attempt=1, omitted_bytes=9000)
)
END = event("3/4-0", "state", **step(3, "succeeded")) + event("3/4-0/done", "done", **task("t1"))


def test_tasks_are_listed_by_every_filter_over_pages(fake: FakeGateway, run: Run) -> None:
    fake.answer("GET /api/v1/tasks", {"tasks": [task("t3"), task("t2")], "next": "t2"})
    fake.answer(
        "GET /api/v1/tasks",
        {"tasks": [task("t1", "failed", error={"type": "ValueError", "message": "bad"})], "next": None},
    )
    arguments = (
        "echo",
        "--state",
        "failed",
        "--mine",
        "--since",
        "2026-01-01",
        "--metadata",
        "a=b",
        "--metadata",
        "c=d",
    )
    output = run("task", "list", *arguments, "--limit", "250").output
    first, second = (parse_qs(urlsplit(asked.path).query) for asked in fake.asked)
    assert first == {
        "algorithm": ["echo"],
        "state": ["failed"],
        "mine": ["1"],
        "since": ["2026-01-01T00:00:00"],
        "metadata": ["a=b", "c=d"],
        "limit": ["200"],
    }
    assert (second["after"], second["limit"]) == (["t2"], ["200"])
    lines = output.splitlines()
    assert [line.split()[0] for line in lines] == ["id", "t3", "t2", "t1"]
    assert lines[3].split() == ["t1", "failed", "echo", "1", "2026-01-01", "00:00:00.123", "ValueError:", "bad"]


def test_a_list_for_programs_says_where_to_go_on(fake: FakeGateway, run: Run) -> None:
    fake.answer("GET /api/v1/tasks", {"tasks": [task("t3")], "next": "t3"})
    assert json.loads(run("task", "list", "--limit", "1", "--json").output) == {"tasks": [task("t3")], "next": "t3"}


def test_what_there_is_is_printed_and_no_more_is_waited_for(fake: FakeGateway, run: Run) -> None:
    fake.answer(EVENTS, BEGIN, content_type=SSE)
    result = run("task", "events", "t1")
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        "2026-01-01 00:00:00  accepted",
        "   50%  half",
        "  WARNING: hot",
        '  output: {"a": "ü"}',
        "  output: 9000 bytes, too many to stream",
    ]
    assert [urlsplit(asked.path).query for asked in fake.asked] == ["follow=0"]


def test_a_stream_that_breaks_is_gone_on_with(fake: FakeGateway, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_events, "_PAUSE_S", 0.01)
    fake.answer(EVENTS, BEGIN, content_type=SSE)
    fake.problem(EVENTS, 503, "restarting")
    fake.answer(EVENTS, END, content_type=SSE)
    result = run("task", "events", "t1", "-f", "--json")
    assert [asked.last_event_id for asked in fake.asked] == ["", "0/4-0", "0/4-0"]
    assert [json.loads(line)["name"] for line in result.output.splitlines()] == [
        "state", "progress", "log", "output", "output", "state", "done",
    ]  # fmt: skip
    assert result.exit_code == 0


def test_the_end_of_a_followed_task_decides(fake: FakeGateway, run: Run) -> None:
    error = {"type": "ValueError", "message": "bad"}
    fake.answer(EVENTS, event("3/0-0/done", "done", **task("t1", "failed", error=error)), content_type=SSE)
    told = failure(run("task", "events", "t1", "-f"))
    assert "ValueError: bad" in str(told)
    assert run("task", "events", "t1").exit_code == 0, "who only looks is not told off"


def test_what_cannot_be_watched_is_said_at_once(fake: FakeGateway, run: Run) -> None:
    fake.problem(EVENTS, 404, "There is no task t1.")
    assert "There is no task t1." in str(failure(run("task", "events", "t1", "-f")))
    assert len(fake.asked) == 1


def test_the_timeline_is_a_table_of_steps(fake: FakeGateway, run: Run) -> None:
    error = {"type": "HTTP 503", "message": "later"}
    served = {"instance_id": "01234567-89ab", "commit": "c" * 40, "config_version": 7}
    whole = {"id": "t1", "state": "queued", "algorithm": "echo", "attempt": 1}
    call = "GET /api/v1/tasks/t1/timeline"
    fake.answer(call, whole | {"transitions": [step(0, "accepted", attempt=0)], "next": 0})
    fake.answer(
        call, whole | {"transitions": [step(3, "queued", reason="failed", error=error, **served)], "next": None}
    )
    lines = run("task", "timeline", "t1").output.splitlines()
    assert [asked.path.partition("after=")[2] for asked in fake.asked] == ["-1", "0"]
    assert lines[1].split() == ["2026-01-01", "00:00:00", "accepted"]
    assert lines[2].split() == [
        "2026-01-01", "00:00:00", "queued", "1", "567-89ab", "cccccccc", "7", "failed", "HTTP", "503:", "later",
    ]  # fmt: skip
    told = json.loads(run("task", "timeline", "t1", "--json").output)
    assert [one["index"] for one in told["transitions"]] == [3]
