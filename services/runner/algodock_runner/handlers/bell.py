"""The doorbell: tells workers that an algorithm has work; never waited for, never the work itself.

It rings twice: by a signal, which is there at once, and by an event, which reaches who missed that.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import structlog

from algodock_common.events import Event, TaskReady
from algodock_common.signals import TASK_READY

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from algodock_common.signals import Signals

__all__ = ["Bell", "Publisher"]

log = structlog.get_logger()

EVENT_EVERY_S = 0.1
"""While signals are heard, events follow at this distance: each costs its broker and every worker a message."""


class Publisher(Protocol):
    """The bus, as far as the bell needs it."""

    async def publish_many(self, events: Sequence[Event[Any]]) -> Sequence[Exception | None]:
        """Publish; return for each None or why not."""
        ...


class Bell:
    """Rings ``task.ready`` once for all that asked for it since the last ring.

    A ring that is lost costs a second: workers also look without one.
    """

    def __init__(self, bus: Publisher, *, source: str, signals: Signals | None = None) -> None:
        """Prepare; nothing rings before ``start``."""
        self._signals = signals
        self._bus = bus
        self._source = source
        self._due: set[str] = set()
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def ring(self, algorithms: Iterable[str]) -> None:
        """Ring for these algorithms, soon; call it after the commit."""
        for algorithm in algorithms:
            self._due.add(algorithm)
            if self._signals is not None:
                self._signals.publish(TASK_READY, algorithm.encode())
        if self._due:
            self._wanted.set()

    async def start(self) -> None:
        """Begin to ring."""
        self._task = asyncio.create_task(self._ring_when_wanted(), name="bell")

    async def stop(self) -> None:
        """Ring what is still due, then stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self._ring_due()

    async def _ring_when_wanted(self) -> None:
        while True:
            await self._wanted.wait()
            await self._ring_due()
            if self._signals is not None and not self._signals.away:
                await asyncio.sleep(EVENT_EVERY_S)

    async def _ring_due(self) -> None:
        due, self._due = self._due, set()
        self._wanted.clear()
        if not due:
            return
        events = [Event.of(TaskReady(algorithm=name), source=self._source) for name in sorted(due)]
        lost = [error for error in await self._bus.publish_many(events) if error is not None]
        if lost:
            log.warning("bell_not_heard", algorithms=len(lost), error=str(lost[0]))
