"""Tasks for services that sleep: the deployer is asked to wake each that has tasks due and no instance."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import structlog

from algodock_common.errors import AlgoDockError
from algodock_common.outages import is_infrastructure
from algodock_runner.repository.queue import waiting_algorithms

if TYPE_CHECKING:
    from collections.abc import Callable

    from algodock_common.database import Database
    from algodock_common.routing import RoutingTable
    from algodock_runner.clients.wakes import Wakes

__all__ = ["TaskWaking"]

log = structlog.get_logger()

LOOK_EVERY_S: Final = 1.0
ASK_EVERY_S: Final = 5.0
"""Seconds between two questions about one service: one that is stopped says so each time."""
MOST_AT_ONCE: Final = 20


class TaskWaking:
    """Looks once a second."""

    def __init__(self, db: Database, table: RoutingTable, wakes: Wakes, *, routed: Callable[[], bool]) -> None:
        """``routed`` says whether the table was ever filled: before that, nobody knows which instances there are."""
        self._db = db
        self._table = table
        self._wakes = wakes
        self._routed = routed
        self._asked_at: dict[str, float] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._keep_looking(), name="task-waking")

    async def stop(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def look(self) -> None:
        """Ask for those that have tasks due and no ready instance."""
        if not self._routed():
            return
        now = time.monotonic()
        self._asked_at = {name: at for name, at in self._asked_at.items() if now - at < ASK_EVERY_S}
        names = [
            name
            for name in await waiting_algorithms(self._db)
            if name not in self._asked_at and not ((route := self._table.route(name)) and route.ready)
        ][:MOST_AT_ONCE]
        self._asked_at.update(dict.fromkeys(names, now))
        await asyncio.gather(*(self._wake(name) for name in names))

    async def _wake(self, name: str) -> None:
        try:
            await self._wakes.wake(name)
        except AlgoDockError as error:
            log.info("service_not_woken", algorithm=name, error=error.detail)

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self.look()
            except Exception as error:  # whatever it was, the next look may succeed
                log.warning("wake_look_failed", error=repr(error), exc_info=None if is_infrastructure(error) else error)
