"""Cancelling what runs: after its call was closed, the instance is asked until the work has really stopped.

A plain function goes on in its thread. With ``force`` its instance is restarted; without, it is
waited for as long as a call may take. A task whose worker died meanwhile is taken over.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid5

import structlog

from algodock_common.errors import AlgoDockError
from algodock_common.outages import is_infrastructure
from algodock_runner.domain.retry import task_error
from algodock_runner.repository import cancelling, lease
from algodock_runner.repository.fence import End, Served

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from algodock_common.database import Database
    from algodock_common.routing import Instance, RoutingTable
    from algodock_runner.clients.instances import CancelAnswer, Instances
    from algodock_runner.clients.restarts import Restarts
    from algodock_runner.handlers.ledger import Ledger
    from algodock_runner.repository.cancelling import Asked

__all__ = ["Canceller"]

log = structlog.get_logger()

FORCE_AFTER_S = 5.0
RESTART_WITHIN_S = 180.0
ASK_FIRST_S = 0.1
ASK_EVERY_S = 1.0
ADOPT_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class _Work:
    """A cancelled task as it is being stopped: who may still be at it, and how long a call of it may take."""

    task_id: UUID
    algorithm: str
    attempt: int
    instances: Sequence[Instance]
    timeout_s: float


class Canceller:
    """Ends cancelled tasks of this worker, and those that a dead worker left."""

    def __init__(  # what it joins
        self,
        db: Database,
        table: RoutingTable,
        instances: Instances,
        restarts: Restarts,
        ledger: Ledger,
        *,
        worker_id: str,
        lease_s: float,
        routed: Callable[[], bool],
    ) -> None:
        """``routed`` says whether the table was ever filled: before that, nobody knows which instances there are."""
        self._db = db
        self._table = table
        self._instances = instances
        self._restarts = restarts
        self._ledger = ledger
        self._worker_id = worker_id
        self._lease_s = lease_s
        self._routed = routed
        self._adopted: dict[UUID, tuple[int, asyncio.Task[None]]] = {}
        self._loop: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to take over what dead workers left."""
        self._loop = asyncio.create_task(self._keep_adopting(), name="cancelled-tasks")

    async def stop(self) -> None:
        """Stop; what was not ended yet is taken over by another worker when its lease has run out."""
        loops = [task for _, task in self._adopted.values()]
        if self._loop is not None:
            loops.append(self._loop)
            self._loop = None
        for task in loops:
            task.cancel()
        await asyncio.gather(*loops, return_exceptions=True)

    async def end(self, task_id: UUID, attempt: int, instance: Instance | None, timeout_s: float | None) -> End:
        """Return the end of a task whose call was closed: when its work on ``instance`` has stopped.

        ``timeout_s`` is the task's own; without it the instance's limit holds.
        """
        if instance is None:
            return _cancelled(task_id, attempt, None, "cancelled before an instance had it")
        limit_s = timeout_s or instance.limits.timeout_s
        return await self._end(_Work(task_id, instance.algorithm, attempt, [instance], limit_s))

    async def _end(self, work: _Work) -> End:
        restarted: set[UUID] = set()
        began, wait_s = time.monotonic(), ASK_FIRST_S
        served = work.instances[0] if len(work.instances) == 1 else None
        while going := await self._going(work):
            bound_s = work.timeout_s
            asked = await self._asked(work.task_id)
            if asked is not None and asked.force:
                due = asked.ago_s >= FORCE_AFTER_S
                if not due or await self._restart(work, going, restarted):
                    bound_s = max(bound_s, FORCE_AFTER_S + RESTART_WITHIN_S)
            if time.monotonic() - began >= bound_s:
                where = ", ".join(f"{one.host}:{one.port}" for one in going)
                message = (
                    f"cancelled, but its work still goes on at {where} after {bound_s:g} s; "
                    "cancelling with force restarts the instance"
                )
                error = task_error("NotStopped", message)
                return End(work.task_id, work.attempt, "failed", error=error, served=_served(served))
            await asyncio.sleep(wait_s)
            wait_s = min(ASK_EVERY_S, 2 * wait_s)
        how = "cancelled by a restart of its instance" if restarted else "cancelled while it ran"
        return _cancelled(work.task_id, work.attempt, served, how)

    async def _going(self, work: _Work) -> list[Instance]:
        """Return the instances where the work goes on, or may."""
        said = await asyncio.gather(*(self._instances.cancel(one.base_url, work.task_id) for one in work.instances))
        return [one for one, answer in zip(work.instances, said, strict=True) if self._may_go_on(one, answer)]

    def _may_go_on(self, instance: Instance, answer: CancelAnswer) -> bool:
        """Say whether work may still be done there.

        A process that is being ended listens no more long before its threads are gone. It is over
        when the registry knows it no more, or when it sends no heartbeats either.
        """
        if answer in {"stopped", "goes on"}:
            return answer == "goes on"
        known = self._table.instance(instance.id)
        return known is not None and not (answer == "refused" and known.state == "silent")

    async def _asked(self, task_id: UUID) -> Asked | None:
        try:
            async with self._db.read() as session:
                return await cancelling.asked(session, task_id)
        except Exception as error:
            if not is_infrastructure(error):
                raise
            log.warning("cancel_not_read", task=str(task_id), error=repr(error))
            return None

    async def _restart(self, work: _Work, going: Sequence[Instance], restarted: set[UUID]) -> bool:
        """Ask for the restarts that were not asked for yet; return whether waiting for one makes sense."""
        hope = False
        for one in going:
            if one.id not in restarted:
                reason = f"task {work.task_id} was cancelled by force and goes on"
                operation = uuid5(one.id, str(work.task_id))
                try:
                    await self._restarts.restart(work.algorithm, one.id, operation_id=operation, reason=reason)
                except AlgoDockError as error:  # asked again in a moment
                    log.warning("restart_not_asked", task=str(work.task_id), instance=str(one.id), error=error.detail)
                    hope |= error.retryable
                    continue
                log.info("restart_asked", task=str(work.task_id), instance=str(one.id))
                restarted.add(one.id)
            hope = True
        return hope

    async def _keep_adopting(self) -> None:
        while True:
            await asyncio.sleep(ADOPT_EVERY_S)
            try:
                await self._renew()
                if self._routed():
                    await self.adopt_once()
            except Exception as error:  # whatever it was, the next look may succeed
                expected = is_infrastructure(error)
                log.warning("cancelled_tasks_not_adopted", error=repr(error), exc_info=None if expected else error)

    async def adopt_once(self) -> int:
        """Take over cancelled tasks of dead workers; return how many."""
        async with self._db.transaction() as tx:
            found = await cancelling.adopt(tx, worker_id=self._worker_id, lease_s=self._lease_s)
        for one in found:
            route = self._table.route(one.algorithm)
            instances = list(route.instances.values()) if route else []
            limit_s = one.timeout_s or max((each.limits.timeout_s for each in instances), default=0.0)
            work = _Work(one.id, one.algorithm, one.attempt, instances, limit_s)
            task = asyncio.create_task(self._end_adopted(work), name=f"cancel-{one.id}")
            self._adopted[one.id] = (one.attempt, task)
        return len(found)

    async def _end_adopted(self, work: _Work) -> None:
        try:
            await self._ledger.write(await self._end(work))
        except Exception:
            log.exception("cancelled_task_not_ended", task=str(work.task_id))  # its lease runs out: again
        finally:
            del self._adopted[work.task_id]

    async def _renew(self) -> None:
        """Keep what was taken over; let go of what somebody else has by now."""
        held = {id_: attempt for id_, (attempt, _) in self._adopted.items()}
        if not held:
            return
        async with asyncio.timeout(self._lease_s / 3), self._db.transaction() as tx:
            kept = await lease.renew(tx, held, lease_s=self._lease_s)
        for id_ in held.keys() - kept:
            if id_ in self._adopted:
                self._adopted[id_][1].cancel()


def _served(instance: Instance | None) -> Served:
    return (
        Served()
        if instance is None
        else Served(instance.id, instance.release_id, instance.commit, instance.config_version)
    )


def _cancelled(task_id: UUID, attempt: int, instance: Instance | None, how: str) -> End:
    return End(task_id, attempt, "cancelled", error=task_error("Cancelled", how), served=_served(instance))
