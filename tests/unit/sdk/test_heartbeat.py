"""Heartbeats and registration, against a registry of the test's own."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from algodock_sdk import RegistrationError, register
from algodock_sdk.heartbeat import Heartbeat, Load


class Registry:
    """Keeps what it is sent and answers what it is told."""

    def __init__(self) -> None:
        self.got: queue.Queue[tuple[str, str, Any]] = queue.Queue()
        self.answers: dict[str, tuple[int, Any]] = {}
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                registry.got.put((self.path, self.headers["authorization"], body))
                status, document = registry.answers.get(self.path, (204, None))
                self.send_response(status)
                data = b"" if document is None else json.dumps(document).encode()
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def registry() -> Iterator[Registry]:
    made = Registry()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_a_beat_carries_the_token_and_the_load(registry: Registry) -> None:
    load = Load()
    load.begin()
    heartbeat = Heartbeat(registry.url + "/heartbeat", "secret", load=load, interval_s=0.01)
    heartbeat.start()
    beats = [registry.got.get(timeout=5) for _ in range(2)]
    heartbeat.stop()
    path, authorization, body = beats[0]
    assert (path, authorization) == ("/heartbeat", "Bearer secret")
    assert body["status"] == "ok"
    assert body["metrics"]["in_flight"] == 1


def test_a_registry_that_is_away_is_said_once_and_tried_again(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    registry.answers["/heartbeat"] = (503, {})
    heartbeat = Heartbeat(registry.url + "/heartbeat", "t")
    assert [heartbeat.beat(), heartbeat.beat()] == [False, False]
    assert caplog.text.count("not taken") == 1
    registry.answers.clear()
    assert heartbeat.beat()
    assert not Heartbeat("http://127.0.0.1:9/heartbeat", "t").beat()


def test_there_is_no_heartbeat_without_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ALGODOCK_HEARTBEAT_URL", raising=False)
    assert Heartbeat.from_environment() is None
    monkeypatch.setenv("ALGODOCK_HEARTBEAT_URL", "http://127.0.0.1:9/heartbeat")
    monkeypatch.setenv("ALGODOCK_TOKEN", "t")
    assert Heartbeat.from_environment() is not None


def test_a_service_elsewhere_registers_and_beats(registry: Registry) -> None:
    registry.answers["/api/v1/registry/services"] = (201, {"instance_id": "i1", "token": "t1"})
    registration = register("mine", "http://10.0.0.5:9000", platform=registry.url + "/", key="k", interval_s=0.01)
    path, authorization, body = registry.got.get(timeout=5)
    assert (path, authorization) == ("/api/v1/registry/services", "Bearer k")
    assert body == {"name": "mine", "url": "http://10.0.0.5:9000"}
    assert registration.instance_id == "i1"
    path, authorization, _ = registry.got.get(timeout=5)
    registration.stop()
    assert (path, authorization) == ("/api/v1/registry/heartbeat", "Bearer t1")


def test_a_platform_that_forgot_the_service_gets_it_again(registry: Registry) -> None:
    registry.answers["/api/v1/registry/services"] = (201, {"instance_id": "i1", "token": "t1"})
    registry.answers["/api/v1/registry/heartbeat"] = (401, {"detail": "unknown"})
    registration = register("mine", "http://10.0.0.5:9000", platform=registry.url, key="k", interval_s=0.01)
    paths = [registry.got.get(timeout=5)[0] for _ in range(3)]
    registration.stop()
    assert paths == ["/api/v1/registry/services", "/api/v1/registry/heartbeat", "/api/v1/registry/services"]


def test_a_refused_registration_says_why(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.answers["/api/v1/registry/services"] = (422, {"detail": "not a DNS label"})
    with pytest.raises(RegistrationError, match="not a DNS label"):
        register("Not A Name", "http://x", platform=registry.url, key="k")
    with pytest.raises(RegistrationError, match="could not be asked"):
        register("mine", "http://x", platform="http://127.0.0.1:9", key="k")
    monkeypatch.delenv("ALGODOCK_URL", raising=False)
    with pytest.raises(RegistrationError, match="ALGODOCK_URL"):
        register("mine", "http://x")
