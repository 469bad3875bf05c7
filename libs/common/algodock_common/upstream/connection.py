"""One HTTP/1.1 connection to an instance: bytes out, an answer's head and body in.

The hot path of calls and tasks, so it does what a proxy needs and nothing else: no redirects, cookies,
decompression or proxies. ``docs/decisions/0040-own-upstream-client.md`` has the reason and figures.
"""

from __future__ import annotations

import asyncio
import math
import socket
from typing import TYPE_CHECKING, Final, cast

import httptools

from algodock_common.upstream.answer import Answer
from algodock_common.upstream.errors import AnswerTooLate, BadAnswer, ConnectionBroke, UpstreamError

if TYPE_CHECKING:
    from collections.abc import Callable

    from algodock_common.upstream.pool import Origin

__all__ = ["Connection"]

BUFFER_BYTES: Final = 256 * 1024
"""How much of an answer waits here for a slow caller before reading from the instance pauses."""

_TICK_S: Final = 0.001  # the loop's clock counts milliseconds


class Connection(Answer, asyncio.Protocol):
    """One connection, one exchange at a time: ``begin``, ``write``…, ``head``, ``read``… until ``complete``.

    ``status`` and ``headers`` are there after ``head``. The first error ends the connection, and
    every waiter gets it. ``listener`` may stand in for whoever would wait for the head: it is called
    once, when the head has come or the connection has ended.
    """

    __slots__ = (
        "_deadline", "_error", "_limit_s", "_loop", "_reading_paused", "_timer", "_timer_at", "_waiter", "_writable",
        "busy", "idle_since", "listener", "origin", "request_done", "socket", "transport",
    )  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop, origin: Origin) -> None:
        """Make a connection that is yet to be connected."""
        super().__init__()
        self._loop = loop
        self.origin = origin
        self.transport: asyncio.Transport | None = None
        self.socket: socket.socket | None = None
        self.busy = False
        self.request_done = False
        self.idle_since = 0.0
        self.listener: Callable[[], None] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = self._deadline = math.inf
        self._limit_s = 0.0
        self._reading_paused = False
        self._error: UpstreamError | None = None

    # ── one exchange ─────────────────────────────────────────────────────────────────────────────

    def begin(self, *, head_only: bool) -> None:
        """Start an exchange; ``head_only`` says that the request is a HEAD, whose answer has no body."""
        self.busy = True
        self.request_done = False
        self.expect(head_only=head_only)

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
        self._limit_s = seconds
        self._deadline = self._loop.time() + seconds
        # A timer for each exchange would cost more than the exchange's parsing: the one that runs
        # looks at the deadline when its time comes.
        if self._timer is None or self._deadline < self._timer_at:
            self._arm()

    def relax(self) -> None:
        """Take the time limit away."""
        self._deadline = math.inf

    @property
    def reusable(self) -> bool:
        """Say whether another exchange may follow: the last one ended well on both sides, and its answer was read."""
        return self.complete and self.keep_alive and self.request_done and self._error is None and not self._chunks

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
            self._wake()
            if self._size > BUFFER_BYTES and not self._reading_paused and self.transport is not None:
                self._reading_paused = True
                self.transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Complete an answer that ends with its connection; else it broke."""
        self.relax()
        self._disarm()
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

    # ── inside ───────────────────────────────────────────────────────────────────────────────────

    async def _wait(self) -> None:
        waiter = self._waiter = self._loop.create_future()
        await waiter

    def _wake(self) -> None:
        listener, waiter = self.listener, self._waiter
        self.listener = self._waiter = None
        if listener is not None:
            listener()
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _release_writer(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    def _arm(self) -> None:
        self._disarm()
        self._timer_at = self._deadline
        self._timer = self._loop.call_at(self._deadline, self._look_at_deadline)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_at_deadline(self) -> None:
        self._timer = None
        if self._deadline - self._loop.time() < _TICK_S:
            self.fail(AnswerTooLate(f"nothing came for {self._limit_s:g} s"))
        elif self._deadline < math.inf:
            self._arm()
