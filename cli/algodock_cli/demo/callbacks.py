"""A callback's receiver of the demo's own: keeps what comes with a good signature, once for each id."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from algodock_cli.client.errors import NotInTime

__all__ = ["Callbacks"]

_LOOK_S = 0.05  # how soon a shutdown is seen
_LARGEST = 2**20  # bytes; a callback carries a result of 16 KiB at most


class Callbacks:
    """Listens on the loopback address; ``refused`` counts what came with a bad signature."""

    def __init__(self, secret: str) -> None:
        """Verify with ``secret`` (``whsec_…``)."""
        self._webhook = Webhook(secret)
        self._changed = threading.Condition()
        self._by_key: dict[str, dict[str, Any]] = {}
        self._ids: set[str] = set()
        self.refused = 0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                good = 0 < length <= _LARGEST and receiver.take(dict(self.headers), self.rfile.read(length))
                self.send_response(204 if good else 401)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing: the demo tells."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._serve, name="callbacks", daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}/finished"

    @property
    def count(self) -> int:
        """How many different callbacks came with a good signature."""
        return len(self._ids)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _serve(self) -> None:
        self._server.serve_forever(poll_interval=_LOOK_S)

    def take(self, headers: dict[str, str], body: bytes) -> bool:
        """Keep one callback; return whether its signature was good."""
        try:
            event = self._webhook.verify(body, {name.lower(): value for name, value in headers.items()})
        except (WebhookVerificationError, ValueError):
            self.refused += 1
            return False
        with self._changed:
            self._ids.add(next(value for name, value in headers.items() if name.lower() == "webhook-id"))
            self._by_key[str(event["data"].get("idempotency_key"))] = event["data"]
            self._changed.notify_all()
        return True

    def wait(self, idempotency_key: str, timeout_s: float) -> dict[str, Any]:
        """Return the data of the callback for the task with that key.

        Raises:
            NotInTime: none came within ``timeout_s``.
        """
        end = time.monotonic() + timeout_s
        with self._changed:
            while idempotency_key not in self._by_key:
                if not self._changed.wait(max(0.0, end - time.monotonic())) and time.monotonic() >= end:
                    raise NotInTime(
                        f"no callback within {timeout_s:.0f} s"
                        + (f"; {self.refused} came with a bad signature" if self.refused else "")
                    )
            return self._by_key[idempotency_key]
