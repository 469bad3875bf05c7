"""A gateway of the tests' own: answers what it is told, in order, and keeps what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from algodock_cli.failures import CommandFailed
from algodock_cli.main import build


@dataclass
class Asked:
    method: str
    path: str
    authorization: str
    content_type: str
    body: bytes
    last_event_id: str = ""

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class FakeGateway:
    """``answers``: (status, content type, body) by "METHOD /path"; the last one of a list is kept."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    answers: dict[str, list[tuple[int, str, bytes]]] = field(default_factory=dict)

    def answer(self, call: str, *documents: Any, status: int = 200, content_type: str = "application/json") -> None:
        self.answers.setdefault(call, []).extend(
            (status, content_type, document if isinstance(document, bytes) else json.dumps(document).encode())
            for document in documents
        )

    def problem(self, call: str, status: int, detail: str, **members: Any) -> None:
        document = {"title": "No", "status": status, "detail": detail, **members}
        self.answer(call, document, status=status, content_type="application/problem+json")

    def take(self, asked: Asked) -> tuple[int, str, bytes]:
        self.asked.append(asked)
        waiting = self.answers.get(f"{asked.method} {asked.path.partition('?')[0]}")
        if not waiting:
            return 404, "application/problem+json", b'{"title": "Not found", "status": 404, "detail": "nothing here"}'
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]


@pytest.fixture
def fake() -> Iterator[FakeGateway]:
    made = FakeGateway()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            status, content_type, document = made.take(
                Asked(
                    self.command,
                    self.path,
                    self.headers.get("authorization", ""),
                    self.headers.get("content-type", ""),
                    body,
                    self.headers.get("last-event-id", ""),
                )
            )
            self.send_response(status)
            self.send_header("content-type", content_type)
            self.send_header("content-length", str(len(document)))
            self.end_headers()
            self.wfile.write(document)

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = answer  # noqa: N815  (http.server's names)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield made
    server.shutdown()
    server.server_close()


Run = Callable[..., Result]


@pytest.fixture
def run(fake: FakeGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a verb against the fake gateway."""
    monkeypatch.setenv("ALGODOCK_URL", fake.url)
    monkeypatch.setenv("ALGODOCK_API_KEY", "k")
    monkeypatch.setenv("ALGODOCK_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))

    def go(*arguments: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(build(arguments[0]), list(arguments), input=stdin)

    return go


def failure(result: Result) -> CommandFailed:
    """Return the failure that ``main`` would print."""
    assert isinstance(result.exception, CommandFailed), result.output
    return result.exception
