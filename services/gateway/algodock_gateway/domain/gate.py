"""A service's queue at this router: calls wait in order of arrival for the slots that this process gets."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from algodock_gateway.domain.errors import CallQueueFull, CallWaitedTooLong, SlotsUnknown

if TYPE_CHECKING:
    from algodock_common.capacity import Share

__all__ = ["Gate"]


class Gate:
    """Admits calls of one algorithm: as many as ``share`` has slots, ``queue`` waiting.

    Without a limit everybody enters, and nothing is asked of anybody.
    """

    __slots__ = ("_limit", "_queue", "_share", "_waiting", "name")

    def __init__(self, name: str, share: Share) -> None:
        """Make an empty gate for the algorithm ``name``."""
        self.name = name
        self._share = share
        self._limit: int | None = None
        self._queue = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        share.moved = self._let_in

    @property
    def in_flight(self) -> int:
        """Return how many calls are in."""
        return self._share.in_use

    @property
    def queued(self) -> int:
        """Return how many calls wait."""
        return len(self._waiting)

    def enter(self, concurrency: int | None) -> bool:
        """Take a slot if one is at hand and nobody was here before; ``leave`` gives it back."""
        return (concurrency is None or not self._waiting) and self._share.enter(concurrency)

    async def wait(self, concurrency: int, queue: int, timeout_s: float) -> None:
        """Wait in the queue for a slot, at most ``timeout_s`` seconds.

        Raises:
            CallQueueFull: the queue is full.
            CallWaitedTooLong: no slot became free in time.
            SlotsUnknown: Redis is away, and without it nobody knows whether one is free.
        """
        if self._share.unknown:
            raise SlotsUnknown(self.name)
        if self.in_flight + len(self._waiting) >= concurrency + queue:
            raise CallQueueFull(self.name, concurrency, queue)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._limit, self._queue = concurrency, queue
        self._waiting.append(turn)
        self._share.want(len(self._waiting), concurrency)
        try:
            async with asyncio.timeout(timeout_s):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.leave(concurrency)  # the slot came at the same moment: hand it on
            elif turn in self._waiting:
                self._waiting.remove(turn)
                self._share.want(len(self._waiting), concurrency)
            if isinstance(error, TimeoutError):
                raise CallWaitedTooLong(self.name, timeout_s) from error
            raise

    def leave(self, concurrency: int | None) -> None:
        """Give a slot back; who waits longest gets it, and more of them where the limit has grown."""
        self._limit = concurrency
        self._share.wanted = len(self._waiting)
        self._share.leave(concurrency)
        if self._waiting:
            self._let_in()

    def _let_in(self) -> None:
        """Give the slots at hand to who waits; refuse who cannot be served, or stands past the queue's end."""
        if self._share.unknown:
            self._refuse(0, SlotsUnknown(self.name))
            return
        while self._waiting and (self._waiting[0].done() or self._share.enter(self._limit)):
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
        if self._limit is not None and self._share.unmet > self._queue:  # others have what was hoped for
            self._refuse(self._queue, CallQueueFull(self.name, self._limit, self._queue))
        self._share.wanted = len(self._waiting)

    def _refuse(self, beyond: int, error: Exception) -> None:
        while len(self._waiting) > beyond:
            turn = self._waiting.pop()
            if not turn.done():
                turn.set_exception(error)
        self._share.wanted = len(self._waiting)
