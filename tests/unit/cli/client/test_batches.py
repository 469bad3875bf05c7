"""Commands to many services, and groups: what is sent, what is printed, how it ends."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from .conftest import FakeGateway, Run, failure


def batch(*states: str, state: str = "succeeded", reason: str = "") -> dict[str, Any]:
    failed = sum(one in {"failed", "refused"} for one in states)
    results = [{"name": f"s{number}", "state": one, "reason": reason} for number, one in enumerate(states)]
    return {
        "batch_id": "b1", "action": "restart", "state": state, "success": not failed, "failed": failed,
        "results": results,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        (("--all",), {"all": True}),
        (("--group", "vision"), {"group": "vision"}),
        (("s0", "s1"), {"services": ["s0", "s1"]}),
    ],
)
def test_many_are_restarted_and_waited_for(
    fake: FakeGateway, run: Run, arguments: tuple[str, ...], sent: dict[str, Any]
) -> None:
    fake.answer("POST /api/v1/services/batch", batch("accepted", "accepted", state="running"), status=202)
    fake.answer(
        "GET /api/v1/services/batches/b1",
        batch("running", "succeeded", state="running"),
        batch("succeeded", "succeeded"),
    )
    shown = run("restart", *arguments)
    assert shown.exit_code == 0, shown.output
    assert fake.asked[0].json() == {"action": "restart", **sent}
    assert len(fake.asked) == 3
    assert shown.output.count("succeeded") == 2


def test_a_partial_failure_is_a_failure_that_shows_every_service(fake: FakeGateway, run: Run) -> None:
    ended = batch("succeeded", "failed", state="partly failed", reason="it exits")
    fake.answer("POST /api/v1/services/batch", ended, status=202)
    shown = run("redeploy", "s0", "s1")
    assert "it exits" in shown.output
    assert "1 of 2" in str(failure(shown))


def test_what_does_not_end_is_not_waited_for_without_end(fake: FakeGateway, run: Run) -> None:
    fake.answer("POST /api/v1/services/batch", batch("accepted", state="running"), status=202)
    fake.answer("GET /api/v1/services/batches/b1", batch("accepted", state="running"))
    failed = failure(run("stop", "--all", "--timeout", "1"))
    assert failed.exit_code == 5
    assert "s0" in str(failed)


@pytest.mark.parametrize("arguments", [(), ("a", "--all"), ("--all", "--group", "g")])
def test_nobody_and_two_kinds_at_once_are_refused(fake: FakeGateway, run: Run, arguments: tuple[str, ...]) -> None:
    assert run("start", *arguments).exit_code == 2
    assert not fake.asked


def test_groups_are_made_changed_and_listed(fake: FakeGateway, run: Run) -> None:
    group = {"name": "vision", "owner": "me", "services": ["ocr", "edges"]}
    fake.answer("POST /api/v1/service-groups", group, status=201)
    fake.answer("GET /api/v1/service-groups", {"groups": [group]})
    fake.answer("PATCH /api/v1/service-groups/vision", {**group, "services": []})
    fake.answer("DELETE /api/v1/service-groups/vision", b"", status=204)
    assert run("group", "create", "vision", "ocr", "edges").output.strip() == "vision: ocr edges"
    assert "ocr edges" in run("group", "list").output
    assert run("group", "take", "vision", "ocr", "edges").output.strip() == "vision: nobody"
    assert json.loads(run("group", "add", "vision", "ocr", "--json").output)["name"] == "vision"
    assert run("group", "rename", "vision", "eyes").exit_code == 0
    assert [one.json() for one in fake.asked if one.method == "PATCH"] == [
        {"remove": ["ocr", "edges"]}, {"add": ["ocr"]}, {"name": "eyes"},
    ]  # fmt: skip
    assert run("group", "remove", "vision").output.strip() == "vision is removed"


def test_a_timeline_reads_from_the_oldest_and_says_what_failed(fake: FakeGateway, run: Run) -> None:
    entry = {"at": "2026-11-22T18:00:00.123Z", "kind": "pushed", "ok": True, "actor": "ann", "commit": "c" * 40}
    entries = [
        {**entry, "number": 9, "kind": "rolled back", "ok": False, "detail": "no release before"},
        {**entry, "number": 8, "detail": "main: better"},
    ]
    fake.answer("GET /api/v1/services/timeline/echo", {"entries": entries, "next": 8})
    lines = run("timeline", "echo", "-n", "2").output.splitlines()
    assert "pushed" in lines[1]
    assert "not rolled back" in lines[2]
    assert "limit=2" in fake.asked[0].path


def test_logs_are_searched_by_text_and_by_how_long_ago(fake: FakeGateway, run: Run) -> None:
    fake.answer("GET /api/v1/services/logs/echo", {"service_id": "1", "lines": ["the model is loaded"]})
    shown = run("logs", "echo", "--search", "model", "--since", "15m", "--until", "2026-01-31T12:00+00:00")
    assert shown.output.strip() == "the model is loaded"
    asked = parse_qs(urlsplit(fake.asked[0].path).query)
    assert asked["search"] == ["model"]
    assert asked["until"] == ["2026-01-31T12:00:00+00:00"]
    ago = datetime.now(UTC) - datetime.fromisoformat(asked["since"][0])
    assert 900 <= ago.total_seconds() < 960
    assert run("logs", "echo", "--since", "yesterday").exit_code == 2
    assert run("logs", "--search", "model").exit_code == 2


def test_instances_are_listed_weighed_drained_and_measured(fake: FakeGateway, run: Run) -> None:
    one = {
        "instance_id": "i1", "algorithm": "echo", "base_url": "http://h:1", "host": "h", "port": 1, "state": "ready",
        "weight": 0, "status": "busy",
    }  # fmt: skip
    fake.answer("GET /api/v1/registry/services", {"services": [{"name": "echo", "instances": [one]}]})
    fake.answer("GET /api/v1/registry/discover/echo", {"name": "echo", "instances": [one]})
    fake.answer("PUT /api/v1/registry/instances/i1/weight", one)
    used = {"cpu": 0.5, "memory_bytes": 52_400_000, "open_files": 9, "processes": 2, "started_at": None}
    measured = {"instance_id": "i1", "port": 1, "phase": "serving", **used}
    fake.answer("GET /api/v1/services/metrics/echo", {"instances": [measured]})
    assert "busy" in run("registry", "list").output
    assert run("registry", "discover", "echo").output.strip() == "http://h:1"
    assert run("registry", "drain", "i1", "--force").output.strip() == "echo h:1 ready, weight 0"
    assert run("registry", "weigh", "i1", "7").exit_code == 0
    sent = [asked.json() for asked in fake.asked if asked.method == "PUT"]
    assert sent == [{"weight": 0, "force": True}, {"weight": 7, "force": False}]
    assert "52.4" in run("metrics", "echo").output
