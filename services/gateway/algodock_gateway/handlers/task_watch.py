"""Who watches which tasks, and that every step of theirs is noticed also when its signal was lost.

One question to the runner every two seconds for all tasks that are watched here, however many.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from algodock_gateway.clients.peers import TaskHistory
    from algodock_gateway.handlers.waiters import Waiter, Waiters

__all__ = ["Watch"]

log = structlog.get_logger()

ASK_EVERY_S: Final = 2.0


class Watch:
    """Wakes by a task's id; the wake's payload is there when the state has changed."""

    def __init__(self, runner: TaskHistory, moves: Waiters) -> None:
        """``moves`` is also woken by signals and events."""
        self._runner = runner
        self._moves = moves
        self._seen: dict[UUID, tuple[int, str | None]] = {}
        self._some = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @contextmanager
    def watching(self, task_id: UUID) -> Iterator[Waiter]:
        """Have the task watched, and give what is set when something of it changed."""
        count, word = self._seen.get(task_id, (0, None))
        self._seen[task_id] = count + 1, word
        self._some.set()
        try:
            with self._moves.waiting(str(task_id)) as waiter:
                yield waiter
        finally:
            count, word = self._seen[task_id]
            if count > 1:
                self._seen[task_id] = count - 1, word
            else:
                del self._seen[task_id]
                if not self._seen:
                    self._some.clear()

    def note(self, task_id: UUID, word: str) -> None:
        """Say how a watched task stood when it was read."""
        if task_id in self._seen:
            self._seen[task_id] = self._seen[task_id][0], word

    async def start(self) -> None:
        """Begin to ask, while there is something to ask for."""
        self._task = asyncio.create_task(self._run(), name="task-watch")

    async def stop(self) -> None:
        """Stop asking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def look(self) -> None:
        """Ask how all watched tasks stand, and wake whoever has not heard of a change.

        Raises:
            AlgoDockError: the runner did not answer.
        """
        for id_, word in (await self._runner.standing(list(self._seen))).items():
            count, before = self._seen.get(id_, (0, None))
            if count and word != before:
                self._seen[id_] = count, word
                self._moves.wake(str(id_), {"standing": word})

    async def _run(self) -> None:
        while True:
            await self._some.wait()
            await asyncio.sleep(ASK_EVERY_S)
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001  # asked again in a moment
                log.warning("watched_tasks_not_read", tasks=len(self._seen), error=repr(error))
