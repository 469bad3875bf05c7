"""A task's events for one watcher: its steps by the runner's timeline, what its algorithm says by Redis.

The timeline is the truth and every step of it is sent, in whichever gateway and however often a
watcher comes back; what Redis has lost is not.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import structlog
from prometheus_client import Gauge

from algodock_common.errors import AlgoDockError, NotFound
from algodock_common.events import TASK_TERMINAL_STATES
from algodock_gateway.domain.errors import TooManyWatchers
from algodock_gateway.domain.task_events import HEARTBEAT, RETRY, Cursor, Step, event, merged
from algodock_gateway.handlers.waiters import Waiter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from uuid import UUID

    from algodock_gateway.clients.live import Live
    from algodock_gateway.clients.peers import JsonObject, TaskHistory
    from algodock_gateway.domain.task_events import Spoken
    from algodock_gateway.handlers.task_watch import Watch

__all__ = ["TaskEvents", "Watcher"]

log = structlog.get_logger()

HEARTBEAT_S: Final = 15.0
AGAIN_S: Final = 0.5

WATCHERS = Gauge("algodock_task_watchers", "Readers of tasks' events in this process")


class TaskEvents:
    """The watchers of this process: not more than so many, and all of them sent away when it stops."""

    def __init__(self, runner: TaskHistory, live: Live, watch: Watch, *, most: int) -> None:
        """``most`` bounds the watchers."""
        self.runner = runner
        self.live = live
        self.watch = watch
        self._most = most
        self._waiters: set[Waiter] = set()
        self.stopping = False

    @contextmanager
    def watching(self, task_id: UUID) -> Iterator[Waiter]:
        """Give one watcher room, and what wakes it.

        Raises:
            TooManyWatchers: there is no room.
        """
        if len(self._waiters) >= self._most or self.stopping:
            raise TooManyWatchers(self._most)
        with self.watch.watching(task_id) as waiter:
            self._waiters.add(waiter)
            WATCHERS.set(len(self._waiters))
            try:
                yield waiter
            finally:
                self._waiters.discard(waiter)
                WATCHERS.set(len(self._waiters))

    def __len__(self) -> int:
        """Return how many watch now."""
        return len(self._waiters)

    def stop(self) -> None:
        """Send every watcher away: they come back, to whichever gateway is there, and go on where they were."""
        self.stopping = True
        for waiter in self._waiters:
            waiter.set()


class Watcher:
    """One reading of one task's events behind ``cursor``; ``identity`` makes the caller's header anew.

    ``open`` it, iterate over ``parts`` and ``close`` it, whatever happens.
    """

    def __init__(self, events: TaskEvents, task_id: UUID, *, identity: Callable[[], str], cursor: Cursor) -> None:
        """Nothing is read yet."""
        self._events = events
        self._task_id = task_id
        self._identity = identity
        self._cursor = cursor
        self._stack = ExitStack()
        self._waiter = Waiter()
        self._first: list[Step] | None = None
        self._state = ""
        self._told: JsonObject | None = None

    async def open(self) -> None:
        """Begin to wait, then read for the first time, so that no change falls in between.

        Raises:
            NotFound: there is no such task that the caller may see.
            TooManyWatchers: there is no room for another watcher.
        """
        with ExitStack() as stack:
            self._waiter = stack.enter_context(self._events.watching(self._task_id))
            self._first = await self._steps()
            self._stack = stack.pop_all()

    def close(self) -> None:
        """Make room for another watcher."""
        self._stack.close()

    async def parts(self, *, follow: bool = True) -> AsyncIterator[bytes]:
        """Yield events as they come, and heartbeats between them, until the task has ended; or those there are."""
        yield RETRY
        moved = True
        while not self._events.stopping:
            self._waiter.clear()
            try:
                async for part in self._news(moved=moved):
                    yield part
            except NotFound:
                return  # it was removed meanwhile
            except AlgoDockError as error:
                log.warning("task_events_wait_for_the_runner", task=str(self._task_id), error=error.detail)
                await asyncio.sleep(AGAIN_S)
                moved = True
                continue
            if self._cursor.done or not follow:
                return
            while not await self._woken():
                yield HEARTBEAT
            self._told, self._waiter.payload = self._waiter.payload, None
            moved = self._told is not None

    async def _news(self, *, moved: bool) -> AsyncIterator[bytes]:
        """Yield what happened behind the cursor.

        The steps are read before the entries: what was said before a step is there when the step is.
        """
        steps = await self._steps() if moved else []
        while True:
            spoken = await self._events.live.entries(self._task_id, after=self._cursor.entry)
            if not moved and (not spoken or self._is_new(spoken)):
                moved = True
                steps = await self._steps()  # nothing was said, so it was a step; or an attempt says something first
                continue
            for cursor, part in merged(self._cursor, steps, spoken):
                self._cursor = cursor
                yield part
            if not spoken:
                break
        if moved and self._state in TASK_TERMINAL_STATES:
            done = replace(self._cursor, done=True)
            yield event(done, "done", await self._ended())
            self._cursor = done

    def _is_new(self, spoken: Sequence[Spoken]) -> bool:
        return any(2 * one.attempt > self._cursor.index for one in spoken)

    async def _steps(self) -> list[Step]:
        """Return all steps behind the cursor."""
        if self._first is not None:
            first, self._first = self._first, None
            return first
        after: int | None = self._cursor.index
        steps: list[Step] = []
        while after is not None:
            found = await self._events.runner.timeline(self._task_id, identity=self._identity(), after=after)
            steps += [Step.of(one) for one in found["transitions"]]
            after = found.get("next")
            self._state = found["state"]
            self._events.watch.note(self._task_id, f"{found['state']}/{found['attempt']}")
        return steps

    async def _ended(self) -> JsonObject:
        """Return the task as it ended: as the signal of its end said, else as the runner says."""
        if self._told is not None and self._told.get("state") == self._state:
            return self._told
        return await self._events.runner.task(self._task_id, identity=self._identity())

    async def _woken(self) -> bool:
        """Wait for a change; False when there was none for so long that the watcher needs a sign of life."""
        try:
            async with asyncio.timeout(HEARTBEAT_S):
                await self._waiter.wait()
        except TimeoutError:
            return False
        return True
