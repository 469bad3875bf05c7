"""A task's long poll: held here, answered by the signal of the task's end, true by reading again without one."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from algodock_common.events import TASK_TERMINAL_STATES

if TYPE_CHECKING:
    from uuid import UUID

    from algodock_gateway.clients import JsonObject, Runner
    from algodock_gateway.clients.live import Live
    from algodock_gateway.handlers.waiters import Waiters

__all__ = ["Tasks"]

REREAD_S: Final = 1.0
"""A poll reads the task again this often without a signal or an event: both may have been lost."""


class Tasks:
    """Reads tasks for their owners."""

    def __init__(self, runner: Runner, finished: Waiters, live: Live | None = None) -> None:
        """``finished`` wakes by a task's id; ``live`` knows what running ones said last."""
        self._runner = runner
        self._finished = finished
        self._live = live

    async def get(self, task_id: UUID, *, identity: str, wait_s: float = 0) -> JsonObject:
        """Return the task, at its end if that comes within ``wait_s`` seconds.

        Raises:
            NotFound: there is no such task that the identity may see.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_s
        with self._finished.waiting(str(task_id)) as finished:
            while True:
                last = until <= loop.time()  # who waits on has no use for a place in the queue
                task = await self._runner.task(task_id, identity=identity, place=last)  # or the caller may not see it
                left = until - loop.time()
                if last or task.get("state") in TASK_TERMINAL_STATES:
                    return await self._with_progress(task_id, task)
                if left <= 0:
                    continue
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(left, REREAD_S)):
                        await finished.wait()
                if finished.payload is not None:
                    return finished.payload
                finished.clear()  # an event came, or nothing: only reading tells

    async def _with_progress(self, task_id: UUID, task: JsonObject) -> JsonObject:
        """Return a running task with what its attempt said last of how far it is."""
        if self._live is None or task.get("state") != "running":
            return task
        said = await self._live.progress(task_id)
        mine = isinstance(said, dict) and said.get("attempt") == task.get("attempt")
        return task | {"progress": said if mine else None}
