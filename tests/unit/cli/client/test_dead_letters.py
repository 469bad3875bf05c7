"""``algodock dead-letters``: what it asks and what it prints."""

from __future__ import annotations

import json
from typing import Any

from .conftest import FakeGateway, Run

TASK: dict[str, Any] = {
    "id": "t1", "kind": "task", "task_id": "t1", "algorithm": "echo", "topic": None, "partition": None, "offset": None,
    "consumer": None, "error_type": "ValueError", "reason": "no string", "attempts": 2, "stored_at": "2026-01-01",
    "replayed_at": None, "replayed_as": None, "message_key": None, "text": None, "base64": None, "headers": None,
}  # fmt: skip
MESSAGE = TASK | {
    "id": "m1", "kind": "message", "task_id": None, "algorithm": None, "topic": "task.requested", "partition": 3,
    "offset": 9, "consumer": "algodock-runner-task.requested", "text": "{}",
}  # fmt: skip


def test_they_are_listed_with_what_became_of_them(fake: FakeGateway, run: Run) -> None:
    letters = [TASK, MESSAGE | {"replayed_at": "2026-01-02", "replayed_as": "t9"}]
    fake.answer("GET /api/v1/dead-letters", {"dead_letters": letters, "next": "m1"})
    shown = run("dead-letters", "list", "--kind", "task", "--error", "ValueError", "--not-replayed").output
    assert "t1  task     echo            ValueError  2026-01-01" in shown
    assert "m1  message  task.requested  ValueError  2026-01-01  t9" in shown
    assert "--after m1" in shown
    asked = set(fake.asked[0].path.partition("?")[2].split("&"))
    assert asked == {"kind=task", "error_type=ValueError", "replayed=false", "limit=50"}


def test_one_is_shown_with_its_reason(fake: FakeGateway, run: Run) -> None:
    fake.answer("GET /api/v1/dead-letters/t1", TASK)
    assert "ValueError: no string" in run("dead-letters", "show", "t1").output
    fake.answer("GET /api/v1/dead-letters/m1", MESSAGE)
    assert "task.requested/3 at 9" in run("dead-letters", "show", "m1").output
    assert json.loads(run("dead-letters", "show", "m1", "--json").output) == MESSAGE


def test_one_is_replayed_as_a_task_or_on_its_topic(fake: FakeGateway, run: Run) -> None:
    replayed = {"id": "t1", "replayed_at": "2026-01-02", "task_id": "t2", "topic": None}
    fake.answer("POST /api/v1/dead-letters/t1/replay", replayed, status=202)
    assert "t1 was replayed as task t2" in run("dead-letters", "replay", "t1").output
    back = {"id": "m2", "replayed_at": "2026-01-02", "task_id": None, "topic": "code.pushed"}
    fake.answer("POST /api/v1/dead-letters/m2/replay", back, status=202)
    assert "m2 lies on code.pushed again" in run("dead-letters", "replay", "m2").output
