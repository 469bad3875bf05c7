"""Results written behind: a task ends with its result in its row, the object follows within seconds.

The worker that committed a result writes its object. What it did not come to (a crash, a stop) any
worker finds by its row and writes. The backlog is bounded by what lands within seconds: once it is
full, tasks wait with their ends until there is room for many, as long as the object store takes.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from typing import TYPE_CHECKING

import structlog
from prometheus_client import Counter, Gauge

from algodock_common import failpoints
from algodock_common.errors import AlgoDockError
from algodock_common.outages import is_infrastructure
from algodock_runner.clients.answers import Answer
from algodock_runner.domain.landing import Landing
from algodock_runner.domain.retry import backoff_s
from algodock_runner.repository import results

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from algodock_common.database import Database
    from algodock_runner.clients.results import Results
    from algodock_runner.domain.tasks import Unstored
    from algodock_runner.settings import TaskSettings

__all__ = ["Behind"]

log = structlog.get_logger()

WRITERS = 16
MANY_TASKS = 16
"""While so many run, objects let them go first: until the backlog is full, and not longer than ``TASKS_FIRST_S``."""
TASKS_FIRST_S = 6.0
CALM_AFTER_S = 0.25
ROOM_AGAIN = 0.9
"""The part of a full backlog at which tasks end again, and go first: many at once cost far less than one by one."""
LONGEST_WAIT_S = 2.0
NOTE_EVERY_S = 0.1
NOTED_AT_ONCE = 500
SWEEP_EVERY_S = 1.0
SWEEP_AFTER_S = TASKS_FIRST_S + 2.0
"""What is unwritten for so long its worker does not come to: it has let tasks go first, and begun."""
SWEEP_BATCH = 100
SWEEP_TIMEOUT_S = 30.0
STOP_S = 2.0

BACKLOG = Gauge("algodock_results_unwritten", "Results of this worker whose objects are not written yet")
WRITTEN = Counter("algodock_results_written_total", "Objects of results by who wrote them", ["by"])


class Behind:
    """Writes objects of results that are committed in their rows."""

    def __init__(self, db: Database, store: Results, *, limits: TaskSettings) -> None:
        """Keep what it works with."""
        self._db = db
        self._store = store
        self._limits = limits
        self._held: dict[UUID, float] = {}
        self._held_bytes = 0
        self._queue: asyncio.Queue[Unstored] = asyncio.Queue()
        self._written: list[Unstored] = []
        self._to_note = asyncio.Event()
        self._many_tasks = False
        self._full = False
        self._calming: asyncio.TimerHandle | None = None
        self._unhindered = asyncio.Event()
        self._unhindered.set()
        self._landing = Landing()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._writers: list[asyncio.Task[None]] = []
        self._loops: list[asyncio.Task[None]] = []

    def has_room(self, size: int) -> bool:
        """Say whether a result of ``size`` bytes may be committed now, before its object is written."""
        return self._is_small(size) and not self._full and self._held_bytes + size <= self._limits.behind_backlog_bytes

    async def room(self, size: int) -> bool:
        """Wait until there is room; False at once when there never is for a result of ``size`` bytes."""
        while not self.has_room(size):
            if not self._is_small(size):
                return False
            place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(place)
            await place
        return True

    def write(self, result: Unstored) -> None:
        """Write the object soon; call it after the commit. Returns at once."""
        self._held[result.task_id] = time.monotonic()
        self._held_bytes += len(result.data)
        BACKLOG.set(len(self._held))
        self._queue.put_nowait(result)
        self._consider()

    def running(self, tasks: int) -> None:
        """Note how many tasks run here: many are worth more than their objects, for a moment."""
        if tasks >= MANY_TASKS:
            self._many_tasks = True
            if self._calming is not None:
                self._calming.cancel()
                self._calming = None
        elif self._many_tasks and self._calming is None:  # between two claims there are few, too
            self._calming = asyncio.get_running_loop().call_later(CALM_AFTER_S, self._calm)
        self._consider()

    def _calm(self) -> None:
        self._many_tasks, self._calming = False, None
        self._consider()

    def _is_small(self, size: int) -> bool:
        limits = self._limits
        return limits.behind_backlog > 0 and size <= min(limits.behind_result_bytes, limits.behind_backlog_bytes)

    @property
    def _most(self) -> int:
        return min(self._limits.behind_backlog, self._landing.may_wait)

    def _consider(self) -> None:
        if len(self._held) >= self._most:
            self._full = True
        elif len(self._held) < ROOM_AGAIN * self._most:
            self._full = False
        if self._full or not self._many_tasks:
            self._unhindered.set()
        else:
            self._unhindered.clear()

    async def start(self) -> None:
        """Begin to write."""
        self._writers = [asyncio.create_task(self._keep_writing(), name="behind-write") for _ in range(WRITERS)]
        self._loops = [
            asyncio.create_task(self._keep_noting(), name="behind-note"),
            asyncio.create_task(self._keep_sweeping(), name="behind-sweep"),
        ]

    async def stop(self) -> None:
        """Write what can be written in two seconds; the rest other workers find. Call it when no task runs."""
        if self._calming is not None:
            self._calming.cancel()
        self._calm()
        if self._held:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_S):
                    await self._queue.join()
        for task in (*self._writers, *self._loops):
            task.cancel()
        await asyncio.gather(*self._writers, *self._loops, return_exceptions=True)
        self._writers, self._loops = [], []
        await self._guarded(self._note_written)
        if self._held:
            log.info("results_left_to_others", results=len(self._held))

    async def sweep_once(self) -> int:
        """Write the objects of a batch of results that nobody wrote in time; return how many it found."""
        async with asyncio.timeout(SWEEP_TIMEOUT_S), self._db.transaction() as tx:
            found = await results.unstored(tx, older_than_s=SWEEP_AFTER_S, limit=SWEEP_BATCH)
            answers = await asyncio.gather(*map(self._put, found), return_exceptions=True)
            written = [one for one, error in zip(found, answers, strict=True) if error is None]
            await results.stored(tx, written)
        WRITTEN.labels("sweep").inc(len(written))
        if found:
            log.info("results_taken_over", found=len(found), written=len(written))
        for error in answers:
            if error is not None:
                raise error
        return len(found)

    async def _put(self, one: Unstored) -> None:
        await self._store.put(one.key, Answer(one.content_type, one.data, None, len(one.data)))

    async def _keep_writing(self) -> None:
        while True:
            one = await self._queue.get()
            left_s = self._held[one.task_id] + TASKS_FIRST_S - time.monotonic()
            if left_s > 0 and not self._unhindered.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(left_s):
                        await self._unhindered.wait()
            failpoints.reach("result.behind")
            await self._write(one)
            self._written.append(one)
            self._to_note.set()
            WRITTEN.labels("worker").inc()
            self._landed(one)
            self._queue.task_done()

    def _landed(self, one: Unstored) -> None:
        del self._held[one.task_id]
        self._held_bytes -= len(one.data)
        BACKLOG.set(len(self._held))
        if self._unhindered.is_set() and not self._queue.empty():
            self._landing.landed(time.monotonic())
        else:
            self._landing.pause()
        self._consider()
        if self._full:
            return
        for _ in range(min(len(self._waiting), self._most - len(self._held))):
            place = self._waiting.popleft()
            if not place.done():  # a cancelled one waits no more
                place.set_result(None)

    async def _write(self, one: Unstored) -> None:
        """Write one object, however long the object store is away: the row has the result meanwhile."""
        failures = 0
        while True:
            try:
                await self._put(one)
            except Exception as error:  # whatever it is, the object is owed
                failures += 1
                expected = isinstance(error, AlgoDockError)
                log.warning(
                    "object_not_written",
                    task=str(one.task_id),
                    waiting=len(self._held),
                    error=repr(error),
                    exc_info=None if expected else error,
                )
                await asyncio.sleep(min(LONGEST_WAIT_S, backoff_s(failures)))
            else:
                return

    async def _keep_noting(self) -> None:
        while True:
            await self._to_note.wait()
            await asyncio.sleep(NOTE_EVERY_S)  # one statement for all that is written meanwhile
            await self._guarded(self._note_written)

    async def _note_written(self) -> None:
        """Note in the rows which objects are there; what cannot be noted now is noted later."""
        self._to_note.clear()
        while self._written:
            batch = self._written[:NOTED_AT_ONCE]
            try:
                await results.stored(self._db, batch)
            except BaseException:
                self._to_note.set()
                raise
            del self._written[: len(batch)]

    async def _keep_sweeping(self) -> None:
        while True:
            if self._keeps_up():
                await self._guarded(self._sweep_all)
            await asyncio.sleep(SWEEP_EVERY_S)

    async def _sweep_all(self) -> None:
        while await self.sweep_once() == SWEEP_BATCH:
            pass

    def _keeps_up(self) -> bool:
        """Say whether the object store takes what this worker brings: then old results are others' that are gone."""
        oldest = next(iter(self._held.values()), None)
        return oldest is None or time.monotonic() - oldest < SWEEP_AFTER_S / 2

    @staticmethod
    async def _guarded(step: Callable[[], Awaitable[None]]) -> None:
        """Whatever went wrong, the next round tries again."""
        try:
            await step()
        except Exception as error:  # who ends here leaves results unwritten
            expected = isinstance(error, AlgoDockError) or is_infrastructure(error)
            log.warning("results_not_noted", error=repr(error), exc_info=None if expected else error)
            await asyncio.sleep(LONGEST_WAIT_S / 2)
