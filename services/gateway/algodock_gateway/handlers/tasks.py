"""A task's long poll: held here, answered by the signal of the task's end, true by reading again without one."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from algodock_common.events import TASK_TERMINAL_STATES

if TYPE_CHECKING:
    from uuid import UUID

    from algodock_gateway.clients import JsonObject, Runner
    from algodock_gateway.handlers.waiters import Waiters

__all__ = ["Tasks"]

REREAD_S: Final = 1.0
"""A poll reads the task again this often without a signal or an event: both may have been lost."""


class Tasks:
    """Reads tasks for their owners."""

    def __init__(self, runner: Runner, finished: Waiters) -> None:
        """``finished`` wakes by a task's id."""
        self._runner = runner
        self._finished = finished

    async def get(self, task_id: UUID, *, identity: str, wait_s: float = 0) -> JsonObject:
        """Return the task, at its end if that comes within ``wait_s`` seconds.

        Raises:
            NotFound: there is no such task that the identity may see.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_s
        with self._finished.waiting(str(task_id)) as finished:
            while True:
                task = await self._runner.task(task_id, identity=identity)  # also says whether the caller may see it
                left = until - loop.time()
                if left <= 0 or task.get("state") in TASK_TERMINAL_STATES:
                    return task
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(left, REREAD_S)):
                        await finished.wait()
                if finished.payload is not None:
                    return finished.payload
                finished.clear()  # an event came, or nothing: only reading tells
