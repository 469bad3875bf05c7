"""The worker's pool: looks for work when a bell rings, a slot frees or a second has passed, and runs it.

A bell is acknowledged at once; what is taken is the claim's business (``repository.claim``), what
is kept the lease's (``repository.lease``), what counts the fence's (``repository.fence``).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import structlog
from prometheus_client import Gauge, Histogram

from algodock_common import failpoints
from algodock_common.observability import span
from algodock_common.outages import is_infrastructure
from algodock_runner.domain.retry import task_error
from algodock_runner.handlers.attempt import Attempt
from algodock_runner.handlers.holding import Holding, Run
from algodock_runner.repository.claim import Slots, claim, one_statement
from algodock_runner.repository.fence import GiveBack

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from algodock_common.database import Database
    from algodock_runner.domain.tasks import Claim
    from algodock_runner.handlers.attempt import Outcome, Tools
    from algodock_runner.handlers.cancelling import Canceller
    from algodock_runner.handlers.ledger import Ledger
    from algodock_runner.handlers.shares import Shares
    from algodock_runner.settings import WorkerSettings

__all__ = ["Pool"]

log = structlog.get_logger()

LOOK_EVERY_S = 1.0

RUNNING = Gauge("algodock_tasks_running", "Tasks that this worker runs")
WAITED = Histogram(
    "algodock_task_queue_seconds",
    "Time that a task was due before it was claimed",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
RAN = Histogram(
    "algodock_task_attempt_seconds",
    "Time of an attempt, from its claim to its commit",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)


class Pool:
    """Runs as many tasks as there are slots, and not more than each algorithm takes."""

    def __init__(
        self,
        db: Database,
        tools: Tools,
        ledger: Ledger,
        canceller: Canceller,
        shares: Shares,
        *,
        settings: WorkerSettings,
        worker_id: str,
    ) -> None:
        """Keep what it works with, and look whenever the routes change."""
        self._db = db
        self._tools = tools
        self._ledger = ledger
        self._canceller = canceller
        self._shares = shares
        self._settings = settings
        self._worker_id = worker_id
        self.ran: Callable[[str, float], None] | None = None
        """Called with the algorithm and the milliseconds of each attempt that ended."""
        self._runs: dict[UUID, Run] = {}
        self._busy: dict[str, int] = {}
        self._rung: set[str] = set()
        self._hungry: set[str] = set()
        self._look_everywhere = True
        self._wanted = asyncio.Event()
        self._holding = Holding(db, self._runs, lease_s=settings.lease_s)
        self._looking: asyncio.Task[None] | None = None
        tools.table.listen(self._routes_changed)

    @property
    def running(self) -> int:
        """Return how many tasks run here."""
        return len(self._runs)

    @property
    def busy(self) -> dict[str, int]:
        """Return how many tasks of each algorithm run here."""
        return {name: count for name, count in self._busy.items() if count}

    @property
    def hungry(self) -> frozenset[str]:
        """Return the algorithms whose tasks may have found no room here."""
        return frozenset(self._hungry)

    def ring(self, algorithm: str) -> None:
        """Look for work of this algorithm soon; returns at once."""
        self._rung.add(algorithm)
        self._wanted.set()

    def cancel_asked(self, task_id: UUID) -> None:
        """Look soon whether a task that may run here is to stop; returns at once."""
        if task_id in self._runs:
            self._holding.watch_now()

    async def start(self) -> None:
        """Begin to take work."""
        self._looking = asyncio.create_task(self._keep_looking(), name="pool-claims")
        await self._holding.start()

    async def stop(self) -> None:
        """Take nothing more; let what runs end within the grace, and hand the rest back."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        left = [run.task for run in self._runs.values() if run.task is not None]
        if left:
            log.info("draining", tasks=len(left))
            _, late = await asyncio.wait(left, timeout=self._settings.grace_s)
            for run in list(self._runs.values()):
                run.stop("drain")
            if late:
                await asyncio.wait(late, timeout=2.0)
        await self._holding.stop()

    def _routes_changed(self) -> None:
        self._look_everywhere = True
        self._wanted.set()

    async def _keep_looking(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._wanted.wait()
            if not self._wanted.is_set():
                self._look_everywhere = True  # a second without a bell
            self._wanted.clear()
            everywhere, self._look_everywhere = self._look_everywhere, False
            rung, self._rung = self._rung, set()
            try:
                await self._look(None if everywhere else rung)
            except Exception as error:  # whatever it was, the next look may succeed
                expected = is_infrastructure(error)
                log.warning("claim_failed", error=repr(error), exc_info=None if expected else error)
                self._look_everywhere = True
                await asyncio.sleep(LOOK_EVERY_S / 2)

    async def _look(self, algorithms: set[str] | None) -> None:
        room = self._settings.slots - len(self._runs)
        slots, short = await self._shares.seated(self._free_slots(algorithms, room), self.ring)
        self._hungry |= short
        if not slots:
            return
        asked = time.monotonic()
        claims: list[Claim] = []
        try:
            claims = await self._claim(slots, room)
        finally:
            self._shares.claimed(slots, claims)
        if claims:
            failpoints.reach("worker.claimed")
        if self._tools.progress is not None:
            self._tools.progress.moved(one.id for one in claims)
        taken: dict[str, int] = {}
        for one in claims:
            taken[one.algorithm] = taken.get(one.algorithm, 0) + 1
            WAITED.observe(max(0.0, one.waited_s))
            self._begin(one, asked + self._settings.lease_s)
        full = len(claims) >= room
        for slot in slots:  # who got all it had room for may have more
            if full or taken.get(slot.algorithm, 0) >= slot.free:
                self._hungry.add(slot.algorithm)
            elif slot.algorithm not in short:
                self._hungry.discard(slot.algorithm)

    async def _claim(self, slots: list[Slots], room: int) -> list[Claim]:
        lease_s, worker_id = self._settings.lease_s, self._worker_id
        if one_statement(slots):
            return await claim(self._db, worker_id=worker_id, slots=slots, room=room, lease_s=lease_s)
        async with self._db.transaction() as tx:
            return await claim(tx, worker_id=worker_id, slots=slots, room=room, lease_s=lease_s)

    def _free_slots(self, algorithms: set[str] | None, room: int) -> list[Slots]:
        """Return where this worker could call: algorithms with a ready instance and a slot."""
        if room <= 0:
            self._hungry.update(algorithms or (route.algorithm for route in self._tools.table.routes()))
            return []
        found = []
        for route in self._tools.table.routes():
            if not route.ready or (algorithms is not None and route.algorithm not in algorithms):
                continue
            at_once = route.concurrency or self._settings.per_instance * len(route.ready)
            busy = self._busy.get(route.algorithm, 0)
            free = min(room, at_once - busy, self._most_of_one() - busy)
            if free > 0:
                found.append(Slots(route.algorithm, free, route.concurrency))
            else:
                self._hungry.add(route.algorithm)
        return found

    def _most_of_one(self) -> int:
        """Return how many slots one algorithm may take: never all, so that another's tasks find one free."""
        return max(1, self._settings.slots - max(1, self._settings.slots // 8))

    def _begin(self, one: Claim, lease_until: float) -> None:
        run = Run(Attempt(one, self._tools), lease_until)
        self._runs[one.id] = run
        self._busy[one.algorithm] = self._busy.get(one.algorithm, 0) + 1
        RUNNING.set(len(self._runs))
        self._tools.behind.running(len(self._runs))
        run.task = asyncio.create_task(self._run(run), name=f"task-{one.id}")

    async def _run(self, run: Run) -> None:
        """Run one attempt and write what became of it."""
        one = run.attempt.claim
        began = time.monotonic()
        try:
            with span(
                f"task {one.algorithm}",
                parent=one.traceparent,
                algodock__task=str(one.id),
                algodock__attempt=one.attempt,
                algodock__queued_s=one.waited_s,
            ) as handle:
                outcome = await self._outcome(run)
                served = run.attempt.served
                handle.link(run.attempt.instance.trace if run.attempt.instance else None)
                handle.set(
                    algodock__instance=str(served.instance_id) if served.instance_id else None,
                    algodock__release=str(served.release_id) if served.release_id else None,
                    algodock__commit=served.commit or None,
                )
                if outcome is not None:
                    run.writing = True
                    await self._ledger.write(outcome)
        except asyncio.CancelledError:
            if run.stop_reason is None:
                raise
        except Exception:
            # Not written: the lease runs out, and the reconciler gives the task to another worker.
            log.exception("attempt_not_written", task=str(one.id), attempt=one.attempt)
        finally:
            took_s = time.monotonic() - began
            RAN.observe(took_s)
            if self.ran is not None:
                self.ran(one.algorithm, took_s * 1e3)
            self._ended(one)

    def _ended(self, one: Claim) -> None:
        del self._runs[one.id]
        self._shares.ended(one)
        self._busy[one.algorithm] -= 1
        RUNNING.set(len(self._runs))
        self._tools.behind.running(len(self._runs))
        if self._hungry:
            self._rung |= self._hungry
            self._wanted.set()

    async def _outcome(self, run: Run) -> Outcome | None:
        """Return what is to be written; None when the lease was lost and nothing may be."""
        one = run.attempt.claim
        try:
            return await run.attempt.run()
        except asyncio.CancelledError:
            if run.stop_reason is None or run.task is None:
                raise
            run.task.uncancel()  # what follows may use timeouts of its own
        if run.stop_reason == "cancel":
            return await self._canceller.end(one.id, one.attempt, run.attempt.instance, one.timeout_s)
        if run.stop_reason == "drain":
            error = task_error("HandedBack", "the worker was stopped")
            return GiveBack(one.id, one.attempt, "handed back", error=error, served=run.attempt.served)
        log.warning("lease_lost", task=str(one.id), attempt=one.attempt)
        return None
