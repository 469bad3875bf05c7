"""A service's slots and queue at this router: pure counting, woken by whoever gives a slot back."""

from __future__ import annotations

import asyncio
from collections import deque

from algodock_gateway.domain.errors import CallQueueFull, CallWaitedTooLong

__all__ = ["Gate"]


class Gate:
    """Admits calls of one algorithm: ``concurrency`` at once, ``queue`` waiting, in order of arrival."""

    __slots__ = ("_waiting", "in_flight", "name")

    def __init__(self, name: str) -> None:
        """Make an empty gate for the algorithm ``name``."""
        self.name = name
        self.in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def queued(self) -> int:
        """Return how many calls wait."""
        return len(self._waiting)

    def enter(self, concurrency: int | None) -> bool:
        """Take a slot if one is free and nobody was here before; ``leave`` gives it back."""
        if concurrency is not None and (self.in_flight >= concurrency or self._waiting):
            return False
        self.in_flight += 1
        return True

    async def wait(self, concurrency: int, queue: int, timeout_s: float) -> None:
        """Wait in the queue for a slot, at most ``timeout_s`` seconds.

        Raises:
            CallQueueFull: the queue is full.
            CallWaitedTooLong: no slot became free in time.
        """
        if len(self._waiting) >= queue:
            raise CallQueueFull(self.name, concurrency, queue)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(timeout_s):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self.leave(concurrency)  # the slot came at the same moment: hand it on
            else:
                self._forget(turn)
            if isinstance(error, TimeoutError):
                raise CallWaitedTooLong(self.name, timeout_s) from error
            raise

    def leave(self, concurrency: int | None) -> None:
        """Give a slot back; who waits longest gets it, and more of them where the limit has grown."""
        self.in_flight -= 1
        while self._waiting and (concurrency is None or self.in_flight < concurrency):
            turn = self._waiting.popleft()
            if not turn.done():
                self.in_flight += 1
                turn.set_result(None)

    def _forget(self, turn: asyncio.Future[None]) -> None:
        if turn in self._waiting:
            self._waiting.remove(turn)
