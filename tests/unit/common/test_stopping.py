"""A server that is told to stop says so to what holds its connections open."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from typing import TYPE_CHECKING

from algodock_common.web import when_stopping
from algodock_common.web.stopping import stopping

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import asyncio, types
from algodock_common.web import serve, when_stopping

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while (await receive())["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    over = asyncio.Event()
    with when_stopping(over.set):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        await over.wait()
        await send({"type": "http.response.body", "body": b" and over"})

serve(app, types.SimpleNamespace(http=types.SimpleNamespace(host="127.0.0.1", port=%d)))
"""


def test_only_who_listens_is_told() -> None:
    told: list[int] = []
    with when_stopping(lambda: told.append(1)):
        stopping()
    stopping()
    assert told == [1]


def test_a_stream_that_ends_when_told_holds_no_stop_up(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "program.py").write_text(PROGRAM % port)
    with subprocess.Popen([sys.executable, "program.py"], cwd=tmp_path, env=dict(os.environ)) as process:
        try:
            answer = None
            while answer is None:
                assert process.poll() is None
                try:
                    answer = urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30)
                except OSError:  # nobody listens yet
                    time.sleep(0.05)
            with answer:
                assert answer.read(5) == b"begun"
                began = time.monotonic()
                process.send_signal(signal.SIGTERM)
                assert answer.read() == b" and over"
            process.wait(30)
            assert time.monotonic() - began < 6, "the grace of eight seconds was not waited for"
        finally:
            process.kill()
