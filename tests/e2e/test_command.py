"""The command as a person uses it: the demo, and each verb against a running platform."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

import pytest

from tests.outside.platform import PROJECT, Platform, eventually, running_platform

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with running_platform(tmp_path_factory.mktemp("command")) as running:
        yield running


def algodock(
    platform: Platform, *arguments: str, code: int = 0, more: dict[str, str] | None = None, said: str | None = None
) -> str:
    ended = subprocess.run(
        [sys.executable, "-m", "algodock_cli", *arguments],
        cwd=PROJECT,
        env=platform.environment | (more or {}),
        input=said,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == code, f"{arguments} ended with {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout if code == 0 else ended.stderr


def test_the_demo_does_all_seven_steps_and_may_be_run_again(platform: Platform) -> None:
    for _ in range(2):
        figures = json.loads(algodock(platform, "demo", "--json").splitlines()[-1])
        assert figures["ok"]
        assert figures["callbacks"] == 2
        assert all(figures[key] > 0 for key in ("push_to_live_s", "predict_ms", "task_rest_ms", "task_kafka_ms"))
        assert figures["total_s"] >= figures["push_to_live_s"]


@pytest.fixture(scope="module")
def mine(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An algorithm made by ``init`` and deployed."""
    folder = tmp_path_factory.mktemp("mine") / "mine"
    algodock(platform, "init", "mine", "--dir", str(folder))
    deployed = json.loads(algodock(platform, "deploy", str(folder), "--name", "mine", "--json").splitlines()[-1])
    assert deployed["release"]["state"] == "live"
    return folder


@pytest.mark.usefixtures("mine")
def test_it_is_called_and_listed(platform: Platform) -> None:
    answer = json.loads(algodock(platform, "predict", "mine", '{"input_data": ["你好"]}'))
    assert answer["results"] == [{"text": "你好", "length": 2}]
    assert "input_data" in algodock(platform, "predict", "mine", '{"input_data": 3}', code=1)
    services = json.loads(algodock(platform, "services", "--json"))["services"]
    assert [service["status"] for service in services if service["name"] == "mine"] == ["running"]
    assert isinstance(algodock(platform, "logs", "mine"), str)
    assert algodock(platform, "build-log", "mine")


@pytest.mark.usefixtures("mine")
def test_it_does_tasks(platform: Platform) -> None:
    arguments = ("task", "submit", "mine", '{"input_data": ["a"]}', "--wait", "--json")
    task = json.loads(algodock(platform, *arguments))
    assert task["state"] == "succeeded"
    assert json.loads(algodock(platform, "task", "result", task["id"]))["results"][0]["length"] == 1
    assert json.loads(algodock(platform, "task", "get", task["id"], "--json"))["id"] == task["id"]
    failed = algodock(platform, "task", "submit", "mine", '{"input_data": 3}', "--wait", code=1)
    assert "input_data" in failed


def test_a_broken_version_fails_and_the_one_before_can_be_rolled_back_to(platform: Platform, mine: Path) -> None:
    source = mine / "ai_algorithm.py"
    good = source.read_text()
    source.write_text(good.replace('"length": len(text)', '"length": -1'))
    algodock(platform, "deploy", str(mine))
    assert "-1" in algodock(platform, "predict", "mine", '{"input_data": ["a"]}')
    source.write_text("def predict(:\n")
    assert "SyntaxError" in algodock(platform, "deploy", str(mine), code=1)
    assert "-1" in algodock(platform, "predict", "mine", '{"input_data": ["a"]}')
    algodock(platform, "rollback", "mine")
    assert '"length": 1' in algodock(platform, "predict", "mine", '{"input_data": ["a"]}').replace('":1', '": 1')
    states = [release["state"] for release in json.loads(algodock(platform, "releases", "mine", "--json"))["releases"]]
    assert "failed" in states
    assert "live" in states
    source.write_text(good)


def test_a_canary_gets_some_of_the_calls_until_it_is_promoted_or_ended(platform: Platform, mine: Path) -> None:
    def lengths(calls: int = 20) -> list[int]:
        answers = [platform.predict("mine", {"input_data": ["a"]}) for _ in range(calls)]
        return [answer.json()["results"][0]["length"] for answer in answers]

    source = mine / "ai_algorithm.py"
    good = source.read_text()

    def deploy_canary(length: int) -> None:
        source.write_text(re.sub(r'"length": [^}]+', f'"length": {length}', good))
        assert "mine is a canary" in algodock(platform, "deploy", str(mine), "--canary", "25")
        eventually(lambda: length in lengths(4))
        seen = lengths()
        assert (seen.count(length), seen.count(1)) == (5, 15), "a quarter, of few calls too"

    assert set(lengths(4)) == {1}
    deploy_canary(7)
    algodock(platform, "rollback", "mine")
    eventually(lambda: set(lengths(8)) == {1})
    deploy_canary(8)
    algodock(platform, "promote", "mine")
    eventually(lambda: set(lengths(8)) == {8})
    source.write_text(good)


@pytest.mark.usefixtures("mine")
def test_it_is_stopped_started_and_restarted(platform: Platform) -> None:
    algodock(platform, "stop", "mine")
    assert "next:" in algodock(platform, "predict", "mine", '{"input_data": ["a"]}', code=5)
    algodock(platform, "start", "mine")
    algodock(platform, "predict", "mine", '{"input_data": ["a"]}')
    algodock(platform, "restart", "mine")
    algodock(platform, "predict", "mine", '{"input_data": ["a"]}')


def test_after_login_a_plain_git_push_shows_the_release(platform: Platform, tmp_path: Path) -> None:
    private = {
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "GIT_CONFIG_GLOBAL": str(tmp_path / "gitconfig"),
        "GIT_TERMINAL_PROMPT": "0",
    }
    algodock(platform, "login", more=private)
    folder = tmp_path / "pushed"
    algodock(platform, "init", "pushed", "--dir", str(folder))
    clone_url = platform.call("POST", "/api/v1/algorithms", json={"name": "pushed"}).json()["clone_url"]
    who = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
    for command in (["init", "-q", "-b", "main"], ["add", "."], [*who, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", *command], cwd=folder, check=True)  # noqa: S607
    pushed = subprocess.run(
        ["git", "push", clone_url, "main"],  # noqa: S607
        cwd=folder,
        env=os.environ | private,
        check=True,
        capture_output=True,
        text=True,
    )
    assert f"{platform.url}/ai/pushed" in pushed.stderr
    assert "remote:" in pushed.stderr
    algodock(platform, "remove", "pushed", "--yes")


class _Model(BaseHTTPRequestHandler):
    """A chat endpoint that says what it was asked, louder, to who has the key."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        known = self.headers["authorization"] == f"Bearer {KEY}"
        said = {"content": asked["messages"][0]["content"].upper()} if known else {}
        body = json.dumps({"choices": [{"message": said}]}).encode()
        self.send_response(200 if known else 401)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


KEY = f"sk-{uuid4().hex}"


@pytest.fixture
def endpoint() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Model) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        server.shutdown()


def test_a_model_elsewhere_is_served_with_a_key_that_nobody_else_sees(
    platform: Platform, tmp_path: Path, endpoint: str
) -> None:
    assert platform.call("POST", "/api/v1/algorithms", json={"name": "chat"}).status_code == 201
    algodock(platform, "secret", "set", "chat", "MODEL_KEY", said=f"{KEY}\n")
    assert "/secrets/" not in algodock(platform, "secret", "list", "chat")
    (shown,) = json.loads(algodock(platform, "secret", "list", "chat", "--json"))["secrets"]
    assert shown.keys() == {"name", "set_at", "set_by"}
    refused = platform.call("PUT", "/api/v1/services/secrets/chat/LD_PRELOAD", json={"value": KEY})
    assert refused.status_code == 422
    wrong = platform.call("PUT", "/api/v1/services/secrets/chat/OTHER", json={"value": [KEY]})
    assert wrong.status_code == 422
    assert KEY not in wrong.text

    manifest = {"runtime": "openai", "openai": {"endpoint": endpoint, "model": "tiny", "secret": "MODEL_KEY"}}
    (tmp_path / "algodock.yaml").write_text(json.dumps(manifest))
    algodock(platform, "deploy", str(tmp_path), "--name", "chat")
    answer = json.loads(algodock(platform, "predict", "chat", '{"prompt": "hello"}'))
    assert answer["choices"][0]["message"]["content"] == "HELLO"

    data = Path(platform.environment["ALGODOCK_DATA_DIR"])
    files = (path for path in data.rglob("*") if path.is_file() and not path.is_symlink())
    holds = [path for path in files if "environments" not in path.parts and KEY in _text(path)]
    assert [(path.suffix, path.stat().st_mode & 0o777) for path in holds] == [(".secrets", 0o600)]

    algodock(platform, "secret", "remove", "chat", "MODEL_KEY")
    assert "no secret" in algodock(platform, "secret", "remove", "chat", "MODEL_KEY", code=3)


def _text(path: Path) -> str:
    """Return a file's content; one that goes meanwhile has none."""
    try:
        return path.read_bytes().decode("latin-1")
    except OSError:
        return ""
