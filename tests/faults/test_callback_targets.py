"""Receivers of callbacks that fail, hang, redirect, drip and flood: bounded, the same id each time, nobody waits."""

from __future__ import annotations

import contextlib
import socketserver
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.faults.conftest import CALLBACK_TIMEOUT_S
from tests.outside.platform import Platform, eventually

pytestmark = pytest.mark.timeout(900)

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
ENDLESS_S = 60.0
GOOD = 40


class Targets(socketserver.ThreadingTCPServer):
    """A server that behaves as the path says that is asked for; ``ids`` are what it was sent there."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Conversation)
        self.ids: dict[str, list[str]] = defaultdict(list)
        self.flooded = 0

    def url(self, behaviour: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{behaviour}"


class _Conversation(socketserver.StreamRequestHandler):
    server: Targets

    def handle(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while line := self.rfile.readline():
                behaviour = line.split()[1].decode().strip("/")
                headers = {}
                while (header := self.rfile.readline().strip()) != b"":
                    name, _, value = header.partition(b": ")
                    headers[name.lower()] = value.decode()
                self.rfile.read(int(headers[b"content-length"]))
                self.server.ids[behaviour].append(headers[b"webhook-id"])
                getattr(self, behaviour)()

    def good(self) -> None:
        self.connection.sendall(OK)

    def fails(self) -> None:
        self.connection.sendall(OK.replace(b"200 OK", b"500 Oh"))

    def redirects(self) -> None:
        to = self.server.url("good").encode()
        self.connection.sendall(b"HTTP/1.1 301 There\r\nlocation: " + to + b"\r\ncontent-length: 0\r\n\r\n")

    def hangs(self) -> None:
        self.connection.settimeout(ENDLESS_S)
        self.connection.recv(1)

    def drips(self) -> None:
        end = time.monotonic() + ENDLESS_S
        self.connection.sendall(b"HTTP/1.1 200 OK\r\nx-slow: ")
        while time.monotonic() < end:
            self.connection.sendall(b"x")
            time.sleep(0.25)  # that is its fault

    def floods(self) -> None:
        self.connection.sendall(b"HTTP/1.1 500 Oh\r\ncontent-length: 1073741824\r\n\r\n")
        for _ in range(1024):
            self.connection.sendall(bytes(2**20))
            self.server.flooded += 2**20


@pytest.fixture
def serve() -> Iterator[Callable[[], Targets]]:
    """Give a function that starts a server: each is a receiver of its own."""
    with contextlib.ExitStack() as stack:

        def start() -> Targets:
            server = stack.enter_context(Targets())
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
            return server

        yield start


def _told(api: httpx.Client, algorithm: str, url: str) -> str:
    """End a task whose callback goes to ``url``."""
    task = api.post("/api/v1/tasks", json={"algorithm": algorithm, "callback_url": url})
    assert task.status_code == 202, task.text
    cancelled = api.post(f"/api/v1/tasks/{task.json()['id']}/cancel")
    assert cancelled.status_code == 202, cancelled.text
    return str(task.json()["id"])


def _callback(api: httpx.Client, task: str) -> dict[str, Any]:
    found: dict[str, Any] = api.get(f"/api/v1/tasks/{task}/callback").raise_for_status().json()
    return found


def test_callback_targets_that_misbehave(
    platform: Platform, serve: Callable[[], Targets], figures: Callable[..., None]
) -> None:
    hostile = {behaviour: serve() for behaviour in ("fails", "redirects", "hangs", "drips", "floods")}
    receiver = serve()
    with platform.api() as api:
        algorithm = f"nobody-{uuid4().hex[:6]}"
        assert api.post("/api/v1/algorithms", json={"name": algorithm}).status_code == 201
        tasks = {behaviour: _told(api, algorithm, server.url(behaviour)) for behaviour, server in hostile.items()}
        for behaviour in ("hangs", "drips", "floods") * 20:  # enough to take every sender, if they could
            _told(api, algorithm, hostile[behaviour].url(behaviour))
        good = [_told(api, algorithm, receiver.url("good")) for _ in range(GOOD)]
        waited = []
        for task in good:
            taken = eventually(lambda task=task: _ended(_callback(api, task)))  # type: ignore[misc]
            assert taken
            (delivery,) = taken["deliveries"]
            waited.append(_seconds(delivery["started_at"]) - _seconds(taken["created_at"]))
        for count in (1, 2):
            for task in tasks.values():
                eventually(lambda task=task, n=count: len(_callback(api, task)["deliveries"]) >= n)  # type: ignore[misc]
                assert api.post(f"/api/v1/tasks/{task}/callback/redeliver").status_code == 202
        seen = {behaviour: _callback(api, task) for behaviour, task in tasks.items()}
        inside = api.post("/api/v1/tasks", json={"algorithm": algorithm, "callback_url": "http://169.254.169.254/x"})
    longest_ms = max(one["duration_ms"] for found in seen.values() for one in found["deliveries"])
    for behaviour, found in seen.items():
        assert hostile[behaviour].ids[behaviour].count(found["webhook_id"]) >= 2, behaviour
        assert found["state"] == "pending"
        assert all(one["error"] and len(one["answer"]) <= 1000 for one in found["deliveries"])
    assert inside.status_code == 422
    assert set(receiver.ids["good"]) == {f"msg_{task.replace('-', '')}" for task in good}
    assert not hostile["redirects"].ids["good"]  # where it redirected to
    assert longest_ms < 1000 * CALLBACK_TIMEOUT_S + 2000
    assert hostile["floods"].flooded < 2**28
    figures(
        good_wait_p50_s=round(statistics.median(waited), 3),
        good_wait_max_s=round(max(waited), 3),
        hostile_longest_s=round(longest_ms / 1000, 2),
        flood_taken_mb=round(hostile["floods"].flooded / 1e6, 1),
    )
    assert max(waited) < 10 * CALLBACK_TIMEOUT_S  # a machine under load is slow; the figure says how long it was


def _ended(callback: dict[str, Any]) -> dict[str, Any] | None:
    return callback if callback["state"] == "delivered" else None


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
