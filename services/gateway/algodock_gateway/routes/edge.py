"""The caller's side of a connection: uvicorn's protocol, with the express lane in front of its tasks."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import unquote

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from algodock_gateway.routes.call import PREFIX

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from algodock_gateway.routes.express import ExpressCall, ExpressLane

__all__ = ["express_protocol"]

HELD_BYTES: Final = 64 * 1024
"""A request whose body is longer is streamed."""

HELD_S: Final = 0.05
"""Seconds that the lane waits for the rest of a short body before the request is streamed."""


class _ExpressProtocol(HttpToolsProtocol):
    """Holds a short request under ``/ai/`` back until it is whole, and offers it to the lane.

    A request that is none, or that the lane declines, takes uvicorn's own way from its head on: a
    task, and the ASGI application.
    """

    lane: ClassVar[ExpressLane]

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # uvicorn's own
        super().__init__(*args, **kwargs)
        self._held: list[bytes] | None = None
        self._held_bytes = 0
        self._held_timer: asyncio.TimerHandle | None = None
        self._express: ExpressCall | None = None
        self._idle_since = math.inf
        self._idle_timer: asyncio.TimerHandle | None = None
        self._default_headers: list[tuple[bytes, bytes]] | None = None
        self._default_head = b""

    # ── asyncio.Protocol ─────────────────────────────────────────────────────────────────────────

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._held is not None and self._held_timer is None:
            self._held_timer = self.loop.call_later(HELD_S, self._release)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._held is not None:
            self._release()
        if self._express is not None:
            self._express.caller_left()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """End the connection, once the request that it carries is answered."""
        if self._held is not None:
            self._release()
        if self._express is not None:
            self._express.hand_over()
        super().shutdown()

    # ── httptools ────────────────────────────────────────────────────────────────────────────────

    def on_message_begin(self) -> None:
        self._idle_since = math.inf
        if self._express is not None:  # a second request before the first is answered: uvicorn has a queue for it
            self._express.hand_over()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if self._eligible():
            self._held = []
            self._held_bytes = 0
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._held is None:
            super().on_body(body)
            return
        self._held.append(body)
        self._held_bytes += len(body)
        if self._held_bytes > HELD_BYTES:
            self._release()

    def on_message_complete(self) -> None:
        held = self._held
        if held is not None:
            scope: Any = self.scope  # not whole yet: the lane needs little of it
            scope["method"] = self.parser.get_method().decode("ascii")
            path, _, query = self.url.partition(b"?")
            self._express = self.lane.begin(self, scope, path, query, held[0] if len(held) == 1 else b"".join(held))
            if self._express is not None:
                self._held = None
                self._stop_holding()
                return
            self._release()
        super().on_message_complete()

    # ── the lane ─────────────────────────────────────────────────────────────────────────────────

    @property
    def writable(self) -> bool:
        """Say whether an answer may be written without waiting."""
        return not self.flow.write_paused

    def answer(self, status: int, head: list[bytes], body: bytes) -> None:
        """Write a whole answer and be ready for the next request."""
        self._express = None
        default = self.server_state.default_headers
        if default is not self._default_headers:  # uvicorn makes a new list each second
            self._default_headers = default
            self._default_head = b"".join(b"%b: %b\r\n" % header for header in default)
        self.transport.write(b"".join((STATUS_LINE[status], self._default_head, *head, b"\r\n", body)))
        self.server_state.total_requests += 1
        self._idle_since = self.loop.time()
        if self._idle_timer is None:
            self._idle_timer = self.loop.call_later(self.timeout_keep_alive, self._end_when_idle)

    def hand_over(self, app: ASGIApp) -> None:
        """Let ``app`` answer as if the request had come to it; its body has been received."""
        self._express = None
        scope: Any = self.scope
        path, _, query = self.url.partition(b"?")
        scope["path"] = unquote(path.decode("ascii"))
        scope["raw_path"], scope["query_string"] = path, query
        cycle = RequestResponseCycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=True,
            on_response=self.on_response_complete,
        )
        cycle.more_body = False
        self.cycle = cycle
        self._start_asgi_task(cycle, app)  # type: ignore[arg-type]  # starlette's and uvicorn's words for one thing

    # ── inside ───────────────────────────────────────────────────────────────────────────────────

    def _eligible(self) -> bool:
        parser = self.parser
        return (
            self.url.startswith(PREFIX)
            and not self._answering()
            and not self.expect_100_continue
            and parser.should_keep_alive()
            and not parser.should_upgrade()
            and parser.get_http_version() == "1.1"
            and parser.get_method() != b"HEAD"
            and b"#" not in self.url
            and self.url.isascii()
        )

    def _answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request
        return cycle is not None and not cycle.response_complete

    def _release(self) -> None:
        """Give a request that was held back to uvicorn, with what has come of its body."""
        held, self._held = self._held, None
        self._stop_holding()
        super().on_headers_complete()
        for body in held or ():
            super().on_body(body)

    def _stop_holding(self) -> None:
        if self._held_timer is not None:
            self._held_timer.cancel()
            self._held_timer = None

    def _end_when_idle(self) -> None:
        """Close a connection that has been idle long enough: one timer for many requests."""
        self._idle_timer = None
        if self._idle_since == math.inf:
            return
        rest = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if rest > 0:
            self._idle_timer = self.loop.call_later(rest, self._end_when_idle)
        elif not self.transport.is_closing():
            self.transport.close()


def express_protocol(lane: ExpressLane) -> type[asyncio.Protocol]:
    """Return the protocol for uvicorn that offers its requests to ``lane``."""

    class Protocol(_ExpressProtocol):
        pass

    Protocol.lane = lane
    return Protocol
