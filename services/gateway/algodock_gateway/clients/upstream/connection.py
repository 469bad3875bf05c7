"""One HTTP/1.1 connection to an instance: bytes out, an answer's head and body in.

The gateway's hot path, so it does what a proxy needs and nothing else: no redirects, cookies,
decompression or proxies. ``docs/decisions/0040-own-upstream-client.md`` has the reason and figures.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Final, cast

import httptools

from algodock_gateway.clients.upstream.errors import AnswerTooLate, BadAnswer, ConnectionBroke, UpstreamError

if TYPE_CHECKING:
    from algodock_gateway.clients.upstream.pool import Origin

__all__ = ["Connection"]

BUFFER_BYTES: Final = 256 * 1024
"""How much of an answer waits here for a slow caller before reading from the instance pauses."""

HEAD_BYTES: Final = 64 * 1024
"""The longest head that an answer may have."""

_INFORMATIONAL: Final = 200  # below it an answer is only an announcement
_SWITCHING: Final = 101


class Connection(asyncio.Protocol):
    """One connection, one exchange at a time: ``begin``, ``write``…, ``head``, ``read``… until ``complete``.

    ``status`` and ``headers`` (names in lower case) are there after ``head``. The first error ends
    the connection, and every waiter gets it.
    """

    __slots__ = (
        "_chunks", "_error", "_framed", "_head_bytes", "_head_done", "_head_only", "_loop", "_parser",
        "_reading_paused", "_size", "_timer", "_waiter", "_writable", "busy", "complete", "headers", "idle_since",
        "keep_alive", "keep_alive_s", "origin", "request_done", "socket", "status", "transport",
    )  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop, origin: Origin) -> None:
        """Make a connection that is yet to be connected."""
        self._loop = loop
        self.origin = origin
        self.transport: asyncio.Transport | None = None
        self.socket: socket.socket | None = None
        self.busy = False
        self.idle_since = 0.0
        self.keep_alive_s: float | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._reading_paused = False
        self._error: UpstreamError | None = None
        self._chunks: list[bytes] = []
        self._size = 0
        self.begin(head_only=False)
        self.busy = False

    # ── one exchange ─────────────────────────────────────────────────────────────────────────────

    def begin(self, *, head_only: bool) -> None:
        """Start an exchange; ``head_only`` says that the request is a HEAD, whose answer has no body."""
        self.busy = True
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.complete = False
        self.keep_alive = False
        self.request_done = False
        self._head_only = head_only
        self._head_done = False
        self._head_bytes = 0
        self._framed = False

    def write(self, data: bytes) -> None:
        """Send bytes of the request; what cannot leave yet is buffered (see ``drain``)."""
        if self._error is None and self.transport is not None:
            self.transport.write(data)

    async def drain(self) -> None:
        """Wait until more may be written.

        Raises:
            UpstreamError: the connection ended meanwhile.
        """
        if self._writable is not None:
            await self._writable
        if self._error is not None:
            raise self._error

    async def head(self) -> None:
        """Wait for the answer's head.

        Raises:
            UpstreamError: none came.
        """
        while not self._head_done:
            if self._error is not None:
                raise self._error
            await self._wait()

    @property
    def answering(self) -> bool:
        """Say whether the answer's head is there."""
        return self._head_done

    async def read(self) -> bytes:
        """Return what has come of the body since the last call, b"" at its end.

        Raises:
            UpstreamError: the body broke off.
        """
        while not self._chunks:
            if self.complete:
                return b""
            if self._error is not None:
                raise self._error
            await self._wait()
        return self.take()

    def take(self) -> bytes:
        """Return what is there of the body, without waiting."""
        chunks = self._chunks
        if not chunks:
            return b""
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self._size = 0
        if self._reading_paused:
            self._reading_paused = False
            if self.transport is not None:
                self.transport.resume_reading()
        return data

    def expect_within(self, seconds: float) -> None:
        """Fail with ``AnswerTooLate`` unless called again, or ``relax``ed, within ``seconds``."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self._expire, seconds)

    def relax(self) -> None:
        """Take the time limit away."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def reusable(self) -> bool:
        """Say whether another exchange may follow: the last one ended well on both sides."""
        return self.complete and self.keep_alive and self.request_done and self._error is None

    @property
    def lost(self) -> bool:
        """Say whether the connection has ended."""
        return self._error is not None

    def ended(self) -> bool:
        """Say whether the other side has closed an idle connection, even if the event loop has not told so yet."""
        if self.socket is None or self._error is not None:
            return self._error is not None
        try:
            self.socket.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            return True
        return True  # closed, or it spoke without being asked

    def fail(self, error: UpstreamError) -> None:
        """End the connection with ``error``, unless it has ended."""
        if self._error is not None:
            return
        self._error = error
        self._wake()
        self._release_writer()
        if self.transport is not None:
            self.transport.abort()

    def close(self) -> None:
        """End the connection; nobody waits for it."""
        self.relax()
        self.fail(ConnectionBroke("closed"))

    # ── asyncio.Protocol ─────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Parse what came; wake who waits once the head is there."""
        if not self.busy:
            self.fail(ConnectionBroke("the instance spoke without being asked"))
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            cause = error.__context__
            self.fail(cause if isinstance(cause, UpstreamError) else BadAnswer(f"no HTTP/1.1 answer: {error!r}"))
            return
        if self._head_done:
            waiter = self._waiter
            if waiter is not None:
                self._waiter = None
                if not waiter.done():
                    waiter.set_result(None)
            if self._size > BUFFER_BYTES and not self._reading_paused and self.transport is not None:
                self._reading_paused = True
                self.transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Complete an answer that ends with its connection; else it broke."""
        self.relax()
        if self._error is None:
            if self.busy and self._head_done and not self.complete and not self._framed and exc is None:
                self.complete = True
            self._error = ConnectionBroke("the instance closed the connection" if exc is None else repr(exc))
        self._wake()
        self._release_writer()
        self.transport = None

    def pause_writing(self) -> None:
        """Make ``drain`` wait."""
        if self._writable is None:
            self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        """Let ``drain`` go on."""
        self._release_writer()

    # ── httptools ────────────────────────────────────────────────────────────────────────────────

    def on_message_begin(self) -> None:
        """Refuse a second answer to one request."""
        if self.complete:
            raise BadAnswer("two answers to one request")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header, its name in lower case as ASGI wants it."""
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > HEAD_BYTES:
            raise BadAnswer(f"the answer's head is longer than {HEAD_BYTES} bytes")
        name = name.lower()
        if name in (b"content-length", b"transfer-encoding"):
            self._framed = True
        elif name == b"keep-alive":
            self.keep_alive_s = _promised(value)
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Note the status; an informational answer is not the answer yet."""
        self.status = self._parser.get_status_code()
        if self.status < _INFORMATIONAL:
            return
        self._head_done = True
        if self._head_only:  # the parser expects a body that will not come, so this connection ends here
            self.complete = True

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body."""
        if not self._head_only:
            self._chunks.append(body)
            self._size += len(body)

    def on_message_complete(self) -> None:
        """Note the end of the answer."""
        if self.status < _INFORMATIONAL:
            if self.status == _SWITCHING:
                raise BadAnswer("the instance switched protocols unasked")
            self.headers = []
            self._head_bytes = 0
            return
        if not self._head_only:
            self.complete = True
            self.keep_alive = self._parser.should_keep_alive()

    # ── inside ───────────────────────────────────────────────────────────────────────────────────

    async def _wait(self) -> None:
        waiter = self._waiter = self._loop.create_future()
        await waiter

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _release_writer(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    def _expire(self, seconds: float) -> None:
        self._timer = None
        self.fail(AnswerTooLate(f"nothing came for {seconds:g} s"))


def _promised(value: bytes) -> float | None:
    """Return the seconds of a ``Keep-Alive: timeout=…`` header."""
    for part in value.split(b","):
        name, _, seconds = part.strip().partition(b"=")
        if name.lower() == b"timeout" and seconds.isdigit():
            return float(seconds)
    return None
