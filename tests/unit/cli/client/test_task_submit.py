"""Tasks submitted from the command line: one, one with files, many; and run again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.cli.client.conftest import failure

if TYPE_CHECKING:
    from tests.unit.cli.client.conftest import FakeGateway, Run

TASKS = "POST /api/v1/tasks"


def task(id_: str = "t1", state: str = "queued", **more: Any) -> dict[str, Any]:
    return {"id": id_, "state": state, "algorithm": "echo", "attempt": 0, "error": None} | more


def test_all_that_can_be_said_of_a_task_is_sent(fake: FakeGateway, run: Run) -> None:
    fake.answer(TASKS, task(), status=202)
    result = run(
        "task", "submit", "echo", '{"a": 1}', "--params", '{"b": 2}', "--version", "abcdef0", "--callback", "http://c/",
        "--idempotency-key", "k", "--priority", "-5", "--not-before", "2030-01-01", "--deadline", "2030-01-02T03:04:05",
        "--max-attempts", "2", "--metadata", "who=me", "--metadata", "x=a=b",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert fake.asked[-1].json() == {
        "algorithm": "echo",
        "input": {"a": 1},
        "params": {"b": 2},
        "version": "abcdef0",
        "callback_url": "http://c/",
        "idempotency_key": "k",
        "priority": -5,
        "not_before": "2030-01-01T00:00:00+00:00",
        "deadline": "2030-01-02T03:04:05+00:00",
        "max_attempts": 2,
        "metadata": {"who": "me", "x": "a=b"},
    }


def test_files_follow_the_part_that_says_what_the_task_is(fake: FakeGateway, run: Run, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"\x89PNG")
    fake.answer(TASKS, task(), status=202)
    result = run("task", "submit", "edge-detect", "--part", f"image=@{tmp_path / 'x.png'}", "-p", "low=40")
    assert result.exit_code == 0, result.output
    asked = fake.asked[-1]
    assert asked.content_type.startswith("multipart/form-data")
    first, second, third = (asked.body.index(f'name="{name}"'.encode()) for name in ("task", "image", "low"))
    assert first < second < third
    assert b'"algorithm": "edge-detect"' in asked.body[:second]
    assert b'"input"' not in asked.body
    assert b'filename="x.png"\r\nContent-Type: image/png\r\n\r\n\x89PNG' in asked.body


def test_each_line_of_a_file_is_a_task_and_a_thousand_go_at_once(fake: FakeGateway, run: Run, tmp_path: Path) -> None:
    lines = [
        {"algorithm": "own", "input": n, "idempotency_key": f"k{n}"} if n == 7 else {"input": n} for n in range(1500)
    ]
    (tmp_path / "tasks.jsonl").write_text("\n\n".join(json.dumps(line) for line in lines) + "\n", "utf-8")
    fake.answer(
        TASKS, {"tasks": [task()] * 1000}, {"tasks": [task()] * 499 + [{"error": {"detail": "no room"}}]}, status=202
    )
    result = run("task", "submit", "echo", "--batch", str(tmp_path / "tasks.jsonl"))
    assert result.exit_code == 1
    assert "refused  no room" in result.output
    assert "1 of the tasks" in str(failure(result))
    sent = [one for asked in fake.asked for one in asked.json()["tasks"]]
    assert [one["input"] for one in sent] == list(range(1500))
    assert {one["algorithm"] for one in sent} == {"echo", "own"}
    assert len({one["idempotency_key"] for one in sent}) == 1500
    assert sent[7]["idempotency_key"] == "k7"
    assert len(fake.asked) == 2


@pytest.mark.parametrize(("text", "says"), [('{"a": 1}\n{', "line 2"), ("[1]", "line 1")])
def test_a_line_that_is_no_request_is_named(fake: FakeGateway, run: Run, tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "bad.jsonl").write_text(text, "utf-8")
    result = run("task", "submit", "--batch", str(tmp_path / "bad.jsonl"))
    assert result.exit_code != 0
    assert says in str(failure(result))
    assert not fake.asked


@pytest.mark.parametrize(
    "arguments",
    [("submit",), ("submit", "--batch", "/nowhere/x"), ("submit", "echo", "--part", "nothing"),
     ("submit", "echo", "1", "--batch", "-"), ("submit", "echo", "--metadata", "nothing")],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_here(fake: FakeGateway, run: Run, arguments: tuple[str, ...]) -> None:
    assert run("task", *arguments).exit_code == 2
    assert not fake.asked


def test_a_task_is_run_again_and_waited_for(fake: FakeGateway, run: Run) -> None:
    fake.answer("POST /api/v1/tasks/t0/rerun", task("t1", rerun_of="t0"), status=202)
    fake.answer("GET /api/v1/tasks/t1", task("t1", "succeeded", result_url="http://x/result"))
    result = run("task", "rerun", "t0", "--version", "abcdef0", "--params", '{"low": 9}', "--wait")
    assert result.exit_code == 0, result.output
    sent = fake.asked[0].json()
    assert sent.pop("idempotency_key")
    assert sent == {"version": "abcdef0", "params": {"low": 9}}
    assert "succeeded" in result.output
