"""The verbs that talk to the gateway: what they send, what they print, how they end."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from algodock_cli.client.options import gateway
from algodock_cli.main import build
from algodock_cli.verbs import VERBS

from .conftest import FakeGateway, Run, failure

SERVICE = {
    "id": "1",
    "name": "echo",
    "status": "running",
    "port": 8101,
    "host": "127.0.0.1",
    "commit": "a" * 40,
    "api_url": "http://x/ai/echo",
}


def test_every_verb_has_help() -> None:
    for verb in VERBS:
        shown = CliRunner().invoke(build(verb), [verb, "--help"])
        assert shown.exit_code == 0, shown.output
        assert "Usage" in shown.output


def test_services_are_listed_with_the_key(fake: FakeGateway, run: Run) -> None:
    fake.answer("GET /api/v1/services", {"success": True, "services": [SERVICE]})
    shown = run("services")
    assert shown.exit_code == 0
    assert "echo" in shown.output
    assert "8101" in shown.output
    assert fake.asked[0].authorization == "Bearer k"
    assert json.loads(run("services", "--json").output)["services"] == [SERVICE]


def test_no_platform_is_a_failure_that_says_what_to_do(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALGODOCK_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("algodock_cli.client.verbs.services.gateway", partial(gateway, patience_s=0))
    failed = failure(run("services"))
    assert failed.exit_code == 3
    assert "algodock up" in str(failed)


def test_a_problem_says_what_why_and_what_next(fake: FakeGateway, run: Run) -> None:
    fake.problem(
        "POST /ai/echo/predict",
        422,
        "low: too small",
        errors=[{"path": "low", "message": "too small"}],
        trace_id="t1",
    )
    failed = failure(run("predict", "echo", "{}"))
    assert failed.exit_code == 1
    assert "POST /ai/echo/predict: No (422)" in str(failed)
    assert "low: too small" in str(failed)
    assert "t1" in str(failed)
    assert failure(run("releases", "nothing")).exit_code == 3


def test_a_wrong_key_is_told_with_the_way_out(fake: FakeGateway, run: Run) -> None:
    fake.problem("GET /api/v1/services", 401, "unknown key")
    assert "--key" in str(failure(run("services")))


@pytest.mark.parametrize("given", ['{"a": 1}', "@FILE", "-"])
def test_predict_takes_json_a_file_or_standard_input(fake: FakeGateway, run: Run, tmp_path: Path, given: str) -> None:
    (tmp_path / "in.json").write_text('{"a": 1}')
    fake.answer("POST /ai/echo/predict", {"got": "你好"})
    shown = run("predict", "echo", given.replace("FILE", str(tmp_path / "in.json")), stdin='{"a": 1}')
    assert json.loads(shown.output) == {"got": "你好"}
    assert "你好" in shown.output
    assert fake.asked[0].json() == {"a": 1}


def test_predict_sends_parts_and_writes_a_picture(fake: FakeGateway, run: Run, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"\x89PNG-in")
    fake.answer("POST /ai/edges/predict", b"\x89PNG-out", content_type="image/png")
    out = tmp_path / "out.png"
    shown = run("predict", "edges", "--part", f"image=@{tmp_path / 'x.png'}", "-p", "low=3", "-o", str(out))
    assert shown.exit_code == 0, shown.output
    assert out.read_bytes() == b"\x89PNG-out"
    body = fake.asked[0].body
    assert b'name="image"; filename="x.png"' in body
    assert b"image/png" in body
    assert b'name="low"\r\n\r\n3' in body


@pytest.mark.parametrize(
    "arguments",
    [("{",), ("@/no/such/file",), ("--part", "novalue"), ("--part", "a=@/no/such/file"), ("{}", "--part", "a=1")],
)
def test_predict_refuses_what_it_cannot_send(run: Run, arguments: tuple[str, ...]) -> None:
    assert run("predict", "echo", *arguments).exit_code == 2


def test_a_stream_is_printed_as_it_comes(fake: FakeGateway, run: Run) -> None:
    fake.answer("POST /ai/llm/predict", b"event: output\ndata: 1\n\n", content_type="text/event-stream")
    assert "data: 1" in run("predict", "llm").output


def test_a_task_is_submitted_once_however_often_it_is_sent(fake: FakeGateway, run: Run) -> None:
    fake.problem("POST /api/v1/tasks", 503, "starting")
    fake.answer("POST /api/v1/tasks", {"id": "t1", "state": "queued", "algorithm": "echo"}, status=202)
    arguments = ("task", "submit", "echo", '{"x": 1}', "--callback", "http://me/", "--params", '{"k": 2}', "--json")
    assert json.loads(run(*arguments).output)["id"] == "t1"
    first, second = (asked.json() for asked in fake.asked)
    assert first == second
    assert first["idempotency_key"]
    assert (first["input"], first["params"], first["callback_url"]) == ({"x": 1}, {"k": 2}, "http://me/")


@pytest.mark.parametrize(("state", "exit_code"), [("succeeded", 0), ("failed", 1), ("expired", 1)])
def test_a_tasks_end_decides_the_exit_code(fake: FakeGateway, run: Run, state: str, exit_code: int) -> None:
    error = None if state == "succeeded" else {"type": "ValueError", "message": "too hot"}
    waiting = {"id": "t1", "state": "running", "algorithm": "echo"}
    fake.answer("GET /api/v1/tasks/t1", waiting, {**waiting, "state": state, "error": error})
    ended = run("task", "wait", "t1")
    assert len(fake.asked) == 2
    assert "wait=" in fake.asked[0].path
    if exit_code:
        assert "too hot" in str(failure(ended))
    assert ended.exit_code == exit_code


def test_a_task_that_still_runs_is_not_waited_for_without_end(fake: FakeGateway, run: Run) -> None:
    fake.answer("GET /api/v1/tasks/t1", {"id": "t1", "state": "running", "algorithm": "echo"})
    assert failure(run("task", "wait", "t1", "--timeout", "1")).exit_code == 5


def test_a_tasks_result_and_its_cancellation(fake: FakeGateway, run: Run, tmp_path: Path) -> None:
    fake.answer("GET /api/v1/tasks/t1/result", b"\x00\x01", content_type="image/png")
    out = tmp_path / "r.png"
    assert run("task", "result", "t1", "-o", str(out)).exit_code == 0
    assert out.read_bytes() == b"\x00\x01"
    fake.answer("POST /api/v1/tasks/t1/cancel", {"id": "t1"}, status=202)
    fake.answer("GET /api/v1/tasks/t1", {"id": "t1", "state": "cancelled", "algorithm": "echo"})
    assert "cancelled" in run("task", "cancel", "t1", "--force").output
    assert fake.asked[1].json() == {"force": True}


def listed(*views: Mapping[str, object]) -> list[dict[str, object]]:
    return [{"services": [{**SERVICE, **view}]} for view in views]


def test_stop_waits_until_it_shows(fake: FakeGateway, run: Run) -> None:
    fake.answer("POST /api/v1/services/stop/echo", {"success": True, "service_id": "1", "status": "stopping"})
    fake.answer("GET /api/v1/services", *listed({}, {"status": "stopping"}, {"status": "stopped"}))
    assert run("stop", "echo").output.strip() == "echo stopped"


def test_a_service_that_does_not_start_says_why(fake: FakeGateway, run: Run) -> None:
    fake.answer("POST /api/v1/services/start/echo", {"success": True, "status": "starting"})
    fake.answer("GET /api/v1/services", *listed({"status": "stopped"}, {"status": "failed", "message": "exits with 1"}))
    assert "exits with 1" in str(failure(run("start", "echo")))
    fake.answer("POST /api/v1/services/restart/echo", {"success": False, "error": "no release"})
    assert "no release" in str(failure(run("restart", "echo")))


def test_a_restart_shows_when_another_instance_serves(fake: FakeGateway, run: Run) -> None:
    old, new = ({"instances": [{"instance_id": one, "host": "h", "port": 1}]} for one in ("i1", "i2"))
    fake.answer("POST /api/v1/services/restart/echo", {"success": True, "status": "starting"}, status=202)
    fake.answer("GET /api/v1/services", *listed(old, old, new))
    assert run("restart", "echo").output.strip() == "echo running"
    assert len(fake.asked) == 4


def test_what_does_not_show_is_not_waited_for_without_end(fake: FakeGateway, run: Run) -> None:
    fake.answer("POST /api/v1/services/stop/echo", {"success": True})
    fake.answer("GET /api/v1/services", *listed({}))
    assert failure(run("stop", "echo", "--timeout", "1")).exit_code == 5


def test_remove_asks_first(fake: FakeGateway, run: Run) -> None:
    assert run("remove", "echo").exit_code == 2
    assert not fake.asked
    fake.answer("DELETE /api/v1/services/echo", {"success": True, "service_id": "1"})
    fake.answer("GET /api/v1/services", *listed({}), {"services": []})
    assert run("remove", "echo", "--yes").output.strip() == "echo removed"


def test_rollback_shows_which_commit_serves(fake: FakeGateway, run: Run) -> None:
    old = {"instances": [{"instance_id": "i1"}], "commit": "a" * 40}
    new = {"instances": [{"instance_id": "i2"}], "commit": "b" * 40}
    fake.answer("POST /api/v1/services/rollback/echo", {"success": True, "operation_id": "o"}, status=202)
    fake.answer("GET /api/v1/services", *listed(old, old, new))
    assert run("rollback", "echo", "--to", "r1").output.strip() == "echo running, commit bbbbbbbbbb"
    assert fake.asked[1].json() == {"release_id": "r1"}


def test_scale_waits_until_there_are_so_many(fake: FakeGateway, run: Run) -> None:
    one, two = {"instances": [{"instance_id": "i1"}]}, {"instances": [{"instance_id": "i1"}, {"instance_id": "i2"}]}
    fake.answer("POST /api/v1/services/scale/echo", {"success": True, "operation_id": "o"}, status=202)
    fake.answer("GET /api/v1/services", *listed(one, one, two))
    assert run("scale", "echo", "2").output.strip() == "echo running, instances: 2"
    assert fake.asked[1].json() == {"instances": 2}


def test_scale_gives_a_rule(fake: FakeGateway, run: Run) -> None:
    rule = {"min": 2, "max": 5, "target": 4, "cooldown_s": 60, "idle_s": 300}
    fake.answer("POST /api/v1/services/scale/echo", {"success": True, "operation_id": "o"}, status=202)
    fake.answer("GET /api/v1/services", *listed({}, {"scale_rule": rule}))
    assert run("scale", "echo", "--min", "2", "--max", "5").exit_code == 0
    assert fake.asked[1].json() == {"rule": rule}
    assert run("scale", "echo", "2", "--max", "5").exit_code == 2
    assert run("scale", "echo").exit_code == 2


def test_a_scale_that_cannot_be_says_why(fake: FakeGateway, run: Run) -> None:
    assert run("scale", "echo", "0").exit_code == 2
    fake.answer("POST /api/v1/services/scale/echo", {"success": True, "operation_id": "o"}, status=202)
    fake.answer("GET /api/v1/services", *listed({}, {"message": "scale: the program exited"}))
    assert "the program exited" in str(failure(run("scale", "echo", "2")))


def test_a_rollback_that_is_refused_says_why(fake: FakeGateway, run: Run) -> None:
    fake.answer("POST /api/v1/services/rollback/echo", {"success": True, "operation_id": "o"}, status=202)
    fake.answer("GET /api/v1/services", *listed({}, {"message": "rollback: echo has no release before"}))
    assert "no release before" in str(failure(run("rollback", "echo")))


def test_releases_say_what_became_of_them(fake: FakeGateway, run: Run) -> None:
    step = {"name": "build", "started_at": "2026-01-01T00:00:00Z", "ended_at": "2026-01-01T00:00:02.5Z", "detail": ""}
    release = {"id": "r", "commit": "c" * 40, "state": "failed", "reason": "SyntaxError: bad\nmore", "steps": [step]}
    fake.answer("GET /api/v1/services/releases/echo", {"releases": [release]})
    shown = run("releases", "echo", "--steps").output
    assert "SyntaxError: bad" in shown
    assert "build done in 2.50 s" in shown


def test_logs_of_an_algorithm_come_through_the_gateway(fake: FakeGateway, run: Run) -> None:
    fake.answer("GET /api/v1/services/logs/echo", {"service_id": "1", "lines": ["one", "two"]})
    assert run("logs", "echo", "-n", "2").output == "one\ntwo\n"
    assert "lines=2" in fake.asked[0].path


def test_followed_logs_are_events(fake: FakeGateway, run: Run) -> None:
    events = b'event: line\ndata: plain\n\ndata: {"line": "in JSON"}\n\n'
    fake.answer("GET /api/v1/services/logs/echo", events, content_type="text/event-stream")
    assert run("logs", "echo", "-f").output == "plain\nin JSON\n"


def test_a_build_log_is_printed_as_it_is(fake: FakeGateway, run: Run) -> None:
    fake.answer("GET /api/v1/services/build-log/echo", b"line 1\nline 2\n", content_type="text/plain")
    assert run("build-log", "echo", "--release", "r1").output == "line 1\nline 2\n"
    assert "release_id=r1" in fake.asked[0].path


def test_register_names_a_service_elsewhere(fake: FakeGateway, run: Run) -> None:
    fake.answer("POST /api/v1/registry/services", {"instance_id": "i"}, status=201)
    assert "registered" in run("register", "mine", "http://10.0.0.5:9000").output
    assert fake.asked[0].json() == {"name": "mine", "url": "http://10.0.0.5:9000"}


def test_login_gives_git_the_key_of_that_platform_only(fake: FakeGateway, run: Run, tmp_path: Path) -> None:
    fake.answer("GET /api/v1/services", {"services": []})
    assert run("login").exit_code == 0
    logins = tmp_path / "config" / "algodock" / "logins.json"
    assert json.loads(logins.read_text()) == {fake.url: "k"}
    assert logins.stat().st_mode & 0o777 == 0o600
    scheme, host = fake.url.split("://")
    filled = subprocess.run(
        ["git", "credential", "fill"],  # noqa: S607
        input=f"protocol={scheme}\nhost={host}\n\n",
        env={**os.environ, "GIT_TERMINAL_PROMPT": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "password=k" in filled.stdout
    other = run("git-credential", "get", stdin="protocol=https\nhost=example.com\n\n")
    assert other.output == ""


def test_login_with_a_wrong_key_keeps_nothing(fake: FakeGateway, run: Run, tmp_path: Path) -> None:
    fake.problem("GET /api/v1/services", 401, "unknown key")
    assert "unknown key" in str(failure(run("login")))
    assert not (tmp_path / "config" / "algodock").exists()


def test_a_login_and_the_data_folder_name_the_platform(
    fake: FakeGateway, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ALGODOCK_URL")
    monkeypatch.delenv("ALGODOCK_API_KEY")
    assert failure(run("services")).exit_code == 3
    fake.answer("GET /api/v1/services", {"services": []})
    (tmp_path / "data" / "credentials.json").write_text(json.dumps({"url": fake.url, "api_key": "own"}))
    assert run("services").exit_code == 0
    assert fake.asked[-1].authorization == "Bearer own"
    assert "no key" in str(failure(run("services", "--url", "http://127.0.0.1:9")))


@pytest.mark.parametrize("template", ["function", "model", "image", "asgi", "node"])
def test_init_makes_a_folder_that_has_all_it_needs(run: Run, tmp_path: Path, template: str) -> None:
    target = tmp_path / "new"
    shown = run("init", "my-thing", "-t", template, "--dir", str(target), "--json")
    files = json.loads(shown.output)["files"]
    assert ".gitignore" in files
    assert any(file.startswith("samples/") for file in files)
    for file in files:
        text = (target / file).read_text()
        assert "{{name}}" not in text
        if file.endswith(".py"):
            compile(text, file, "exec")
        if file.endswith(".json"):
            json.loads(text)
    assert "not empty" in str(failure(run("init", "my-thing", "--dir", str(target))))
    assert run("init", "Not A Label").exit_code == 2
