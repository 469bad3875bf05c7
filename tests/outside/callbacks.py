"""A receiver of callbacks that keeps what it got."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from standardwebhooks.webhooks import Webhook

__all__ = ["Receiver"]


class Receiver:
    """Listens on a port of its own and answers every callback with 204."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._got: list[tuple[dict[str, str], bytes]] = []

    @classmethod
    @contextmanager
    def listening(cls) -> Iterator[Self]:
        """Listen until the block ends."""
        got: list[tuple[dict[str, str], bytes]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                got.append((headers, self.rfile.read(int(headers["content-length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            receiver = cls(f"http://127.0.0.1:{server.server_port}/done")
            receiver._got = got
            try:
                yield receiver
            finally:
                server.shutdown()

    def signed(self, secret: str, task_id: str) -> dict[str, Any] | None:
        """Return the data of a task's callback, its signature verified; None as long as there is none."""
        for headers, raw in list(self._got):
            event: dict[str, Any] = Webhook(secret).verify(raw, headers)
            if event["data"]["id"] == task_id:
                found: dict[str, Any] = event["data"]
                return found
        return None

    def ids(self, secret: str) -> set[str]:
        """Return the tasks that called back, each signature verified."""
        return {Webhook(secret).verify(raw, headers)["data"]["id"] for headers, raw in list(self._got)}
