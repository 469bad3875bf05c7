"""Time in: what the registry does by itself, because nobody would ask for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from algodock_registry import handlers

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

__all__ = ["Schedule"]

SHORTEST_WAIT_S = 0.05
RETRY_S = 1.0
log = structlog.get_logger()


class Schedule:
    """Writes beats, looks at health and repairs, each in a task of its own."""

    def __init__(
        self, context: handlers.Context, beats: handlers.BeatBook, repair: handlers.Repair, *, repair_every_s: float
    ) -> None:
        """Nothing runs before ``start``."""
        self._context = context
        self._beats = beats
        self._repair = repair
        self._repair_every_s = repair_every_s
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start all three."""
        work: dict[str, Coroutine[Any, Any, None]] = {
            "beats": self._beats.run(),
            "looks": self._look(),
            "repair": self._repair.run(self._repair_every_s),
        }
        self._tasks = [asyncio.create_task(one, name=name) for name, one in work.items()]

    async def stop(self) -> None:
        """Stop them, and write the beats that are left."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            await self._beats.write()
        except Exception as error:  # noqa: BLE001  # the instances beat again after the restart
            log.warning("beats.not_written", error=repr(error))

    async def _look(self) -> None:
        while True:
            try:
                wait_s = max(SHORTEST_WAIT_S, await handlers.look(self._context))
            except Exception as error:  # noqa: BLE001  # a look that could not be made is no miss
                log.warning("looks.failed", error=repr(error))
                wait_s = RETRY_S
            await asyncio.sleep(wait_s)
