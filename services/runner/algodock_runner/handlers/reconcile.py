"""Closes the distance between what the rows say and what is being done, after any crash of anything.

Each second: tasks whose time has come are queued, those of dead workers too, those past their time
end, and every few seconds all bells are rung for work that nobody has taken.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog
from prometheus_client import Counter

from algodock_common.errors import AlgoDockError
from algodock_common.outages import is_infrastructure
from algodock_runner.domain.retry import LOST_LEASES_ALLOWED, task_error
from algodock_runner.repository import fence, sweep

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from algodock_common.database import Database
    from algodock_runner.handlers.bell import Bell
    from algodock_runner.handlers.catalogue import Catalogue

__all__ = ["Reconciler"]

log = structlog.get_logger()

TICK_S = 1.0
RING_EVERY_S = 5.0
CATALOGUE_EVERY_S = 60.0

RECONCILED = Counter("algodock_tasks_reconciled_total", "Tasks that the reconciler moved on", ["reason"])


class Reconciler:
    """Looks after the tasks that no worker holds. Several may run at once: they skip each other's rows."""

    def __init__(self, db: Database, bell: Bell, catalogue: Catalogue, *, gateway_url: str) -> None:
        """Keep what it works with."""
        self._db = db
        self._bell = bell
        self._catalogue = catalogue
        self._gateway_url = gateway_url
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run(), name="reconciler")

    async def stop(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def sweep_once(self) -> None:
        """Do one round of everything but the ringing."""
        for step in (self._wake, self._requeue_lost, self._expire, self._cancel):
            while await step() >= sweep.BATCH:
                pass

    async def ring_all(self) -> None:
        """Ring for every algorithm that has work: rings may have been lost with a broker."""
        async with self._db.read() as session:
            self._bell.ring(await sweep.with_work(session))

    async def _run(self) -> None:
        next_ring = next_catalogue = 0.0
        while True:
            now = time.monotonic()
            await self._guarded(self.sweep_once)
            if now >= next_ring:
                next_ring = now + RING_EVERY_S
                await self._guarded(self.ring_all)
            if now >= next_catalogue:
                next_catalogue = now + CATALOGUE_EVERY_S
                await self._guarded(self._catalogue.refresh)
            await asyncio.sleep(TICK_S)

    @staticmethod
    async def _guarded(step: Callable[[], Awaitable[None]]) -> None:
        """Whatever went wrong, the next round tries again."""
        try:
            await step()
        except Exception as error:  # a reconciler that dies reconciles nothing
            expected = isinstance(error, AlgoDockError) or is_infrastructure(error)
            log.warning("reconciler_step_failed", error=repr(error), exc_info=None if expected else error)

    async def _wake(self) -> int:
        async with self._db.transaction() as tx:
            woken = await sweep.wake(tx)
        self._bell.ring(woken)
        return sum(woken.values())

    async def _requeue_lost(self) -> int:
        async with self._db.transaction() as tx:
            found = await sweep.lost(tx)
            ends, backs = [], []
            for one in found:
                if one.lost >= LOST_LEASES_ALLOWED:
                    error = task_error("WorkerLost", f"{one.lost + 1} workers were lost while they ran it")
                    ends.append(fence.End(one.id, one.attempt, "failed", error=error))
                else:
                    error = task_error("WorkerLost", f"the lease of worker {one.worker_id} ran out")
                    backs.append(fence.GiveBack(one.id, one.attempt, "lost", error=error))
            await fence.end(tx, ends, before=fence.RUNNING, gateway_url=self._gateway_url)
            due = await fence.give_back(tx, backs)
        if found:
            log.warning("leases_ran_out", tasks=len(found), requeued=len(backs))
            RECONCILED.labels("lost lease").inc(len(found))
        self._bell.ring(due)
        return len(found)

    async def _expire(self) -> int:
        async with self._db.transaction() as tx:
            found = await sweep.overdue(tx)
            ends = []
            for one in found:
                reason = "its deadline passed" if one.had_deadline else "no instance took it in the longest wait"
                error = task_error("Expired", f"{reason} before it could run")
                ends.append(fence.End(one.id, one.attempt, "expired", error=error))
            await fence.end(tx, ends, before=fence.WAITING, gateway_url=self._gateway_url)
        RECONCILED.labels("expired").inc(len(found))
        return len(found)

    async def _cancel(self) -> int:
        """End what waits with a cancel in its row: nothing puts a task there since cancels are taken over."""
        async with self._db.transaction() as tx:
            found = await sweep.cancelled(tx)
            error = task_error("Cancelled", "cancelled between two attempts")
            ends = [fence.End(one.id, one.attempt, "cancelled", error=error) for one in found]
            await fence.end(tx, ends, before=fence.WAITING, gateway_url=self._gateway_url)
        return len(found)
