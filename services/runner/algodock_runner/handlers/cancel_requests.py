"""Asking tasks to stop: waiting ones end at once, running ones are told, and end when they have stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from algodock_common.events import TASK_TERMINAL_STATES
from algodock_common.signals import TASK_CANCEL
from algodock_runner.domain.errors import TaskEnded, UnknownTask
from algodock_runner.domain.retry import task_error
from algodock_runner.repository import cancelling, fence, tasks

if TYPE_CHECKING:
    from uuid import UUID

    from algodock_common.database import Database
    from algodock_runner.domain.tasks import TaskView

__all__ = ["CancelRequests"]


class CancelRequests:
    """Where owners ask for cancels; ``owner`` None may cancel everybody's."""

    def __init__(self, db: Database, *, gateway_url: str) -> None:
        """Keep what it works with."""
        self._db = db
        self._gateway_url = gateway_url

    async def cancel(self, task_id: UUID, *, owner: str | None, force: bool = False) -> TaskView:
        """Cancel a task: a waiting one at once; a running one is told to stop, and is cancelled when it has.

        With ``force`` the instance is restarted if the work goes on; it may be added later. Asking
        again changes nothing else.

        Raises:
            UnknownTask: there is no such task.
            TaskEnded: it has ended otherwise.
        """
        async with self._db.transaction() as tx:
            found = await tasks.lock(tx, task_id, owner=owner)
            if found is None:
                raise _unknown(task_id)
            state, attempt = found
            if state in fence.WAITING:
                error = task_error("Cancelled", "cancelled before it ran")
                ended = fence.End(task_id, attempt, "cancelled", error=error)
                await fence.end(tx, [ended], before=fence.WAITING, gateway_url=self._gateway_url)
            elif state in fence.RUNNING:
                await cancelling.request(tx, task_id, force=force)
                tx.signal(TASK_CANCEL, str(task_id).encode())
            elif state in TASK_TERMINAL_STATES and state != "cancelled":
                msg = f"The task has already {state}." if state != "failed" else "The task has failed already."
                raise TaskEnded(msg, state=state)
        view = await tasks.find(self._db, task_id, owner=owner, gateway_url=self._gateway_url)
        if view is None:
            raise _unknown(task_id)
        return view


def _unknown(task_id: UUID) -> UnknownTask:
    msg = f"There is no task {task_id}."
    return UnknownTask(msg)
