"""Writes what became of attempts, many in one transaction: what comes while one commits goes with the next."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog
from prometheus_client import Counter

from algodock_common import failpoints
from algodock_common.messaging.retry import RetryPolicy
from algodock_common.outages import is_infrastructure, is_shortage
from algodock_runner.domain.tasks import Unstored
from algodock_runner.repository import fence

if TYPE_CHECKING:
    from collections.abc import Callable

    from algodock_common.database import Database
    from algodock_runner.handlers.attempt import Outcome
    from algodock_runner.handlers.behind import Behind
    from algodock_runner.handlers.bell import Bell

__all__ = ["Ledger"]

log = structlog.get_logger()

BATCH = 500
GATHER_S = 0.005
"""While outcomes come together, so long is waited for more of them: a commit costs as much as ten tasks in one."""
RETRY = RetryPolicy(first_wait_s=0.1, longest_wait_s=1.0)

WRITTEN = Counter("algodock_attempts_total", "Attempts by what became of them", ["outcome"])


class Ledger:
    """The worker's one writer. While PostgreSQL is away it keeps trying; the leases decide what still counts."""

    def __init__(
        self, db: Database, bell: Bell, behind: Behind, *, gateway_url: str, ended: Callable[[], None]
    ) -> None:
        """``ended`` is called when tasks ended whose callbacks are due."""
        self._db = db
        self._bell = bell
        self._behind = behind
        self._gateway_url = gateway_url
        self._ended = ended
        self._waiting: list[tuple[Outcome, asyncio.Future[None]]] = []
        self._more = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.create_task(self._run(), name="ledger")

    async def stop(self) -> None:
        """Stop; call it when nobody writes any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def write(self, outcome: Outcome) -> None:
        """Return when the outcome is committed, or counts no more because another attempt holds the task.

        Raises:
            Exception: PostgreSQL refused this outcome for what it says.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((outcome, done))
        self._more.set()
        await done

    async def _run(self) -> None:
        together = False
        while True:
            await self._more.wait()
            if together:
                await asyncio.sleep(GATHER_S)
            batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
            if not self._waiting:
                self._more.clear()
            batch = [(outcome, done) for outcome, done in batch if not done.cancelled()]
            together = len(batch) > 1
            await self._write_batch(batch)

    async def _write_batch(self, batch: list[tuple[Outcome, asyncio.Future[None]]]) -> None:
        failures = 0
        while batch:
            try:
                await self._commit([outcome for outcome, _ in batch])
            except Exception as error:  # each kind is handled, none ends the writer
                if is_infrastructure(error) or is_shortage(error):
                    failures += 1
                    log.warning("ledger_waits_for_postgres", outcomes=len(batch), error=repr(error))
                    await asyncio.sleep(RETRY.wait_s(failures))
                    batch = [(outcome, done) for outcome, done in batch if not done.cancelled()]
                elif len(batch) > 1:  # one of them cannot be written: its neighbours can
                    for one in batch:
                        await self._write_batch([one])
                    return
                else:
                    log.exception("outcome_not_written", task=str(batch[0][0].task_id))
                    if not batch[0][1].done():
                        batch[0][1].set_exception(error)
                    return
            else:
                for _, done in batch:
                    if not done.done():
                        done.set_result(None)
                return

    async def _commit(self, outcomes: list[Outcome]) -> None:
        ends = [one for one in outcomes if isinstance(one, fence.End)]
        backs = [one for one in outcomes if isinstance(one, fence.GiveBack)]
        counted = await fence.end(self._db, ends, before=fence.RUNNING, gateway_url=self._gateway_url)
        if counted:
            failpoints.reach("worker.committed")
        if any(counted.values()):
            self._ended()
        for one in ends:
            result = one.result
            if result is not None and not result.stored and result.inline is not None and one.task_id in counted:
                self._behind.write(Unstored(one.task_id, result.key, result.content_type, result.inline))
            WRITTEN.labels(one.state if one.task_id in counted else "stale").inc()
        self._bell.ring(await fence.give_back(self._db, backs))
        for back in backs:
            WRITTEN.labels(back.outcome).inc()
