"""Reading tasks and asking them to stop."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from algodock_common.events import TASK_TERMINAL_STATES
from algodock_runner.domain.errors import TaskEnded, TaskHasNoResult, UnknownTask
from algodock_runner.domain.retry import task_error
from algodock_runner.repository import fence, tasks

if TYPE_CHECKING:
    from uuid import UUID

    from algodock_common.database import Database
    from algodock_common.storage import ObjectStore
    from algodock_runner.domain.tasks import StoredResult, TaskView
    from algodock_runner.settings import TaskSettings

__all__ = ["Desk"]

Found = TypeVar("Found")


class Desk:
    """Where owners ask for their tasks; ``owner`` None sees everybody's."""

    def __init__(self, db: Database, store: ObjectStore, *, limits: TaskSettings, gateway_url: str) -> None:
        """Keep what it works with."""
        self._db = db
        self._store = store
        self._limits = limits
        self._gateway_url = gateway_url

    async def get(self, task_id: UUID, *, owner: str | None) -> TaskView:
        """Return one task.

        Raises:
            UnknownTask: there is none that ``owner`` may see.
        """
        async with self._db.read() as session:
            view = await tasks.find(session, task_id, owner=owner, gateway_url=self._gateway_url)
        return _known(view, task_id)

    async def list(self, wanted: tasks.Filter) -> list[TaskView]:
        """Return a page of tasks, newest first."""
        async with self._db.read() as session:
            return await tasks.listed(session, wanted, gateway_url=self._gateway_url)

    async def result(self, task_id: UUID, *, owner: str | None) -> StoredResult:
        """Return where the result lies, with its bytes when it is small.

        Raises:
            UnknownTask: there is no such task.
            TaskHasNoResult: it has not succeeded; the detail says how it stands.
        """
        async with self._db.read() as session:
            result = _known(await tasks.result_of(session, task_id, owner=owner), task_id)
        if result.stored is None:
            msg = f"The task is {result.state} and has no result."
            raise TaskHasNoResult(msg, state=result.state, error=result.error)
        return result.stored

    async def link(self, result: StoredResult) -> str:
        """Return a link that reads the result from the object store for a while."""
        return await self._store.presigned_get(result.key, self._limits.result_link_s)

    async def cancel(self, task_id: UUID, *, owner: str | None) -> TaskView:
        """Cancel a task: a waiting one at once; a running one is told to stop, and is cancelled when it has.

        Asking again changes nothing.

        Raises:
            UnknownTask: there is no such task.
            TaskEnded: it has ended otherwise.
        """
        async with self._db.transaction() as tx:
            state, attempt = _known(await tasks.lock(tx, task_id, owner=owner), task_id)
            if state in fence.WAITING:
                error = task_error("Cancelled", "cancelled before it ran")
                ended = fence.End(task_id, attempt, "cancelled", error=error)
                await fence.end(tx, [ended], before=fence.WAITING, gateway_url=self._gateway_url)
            elif state in fence.RUNNING:
                await tasks.request_cancel(tx, task_id)
            elif state in TASK_TERMINAL_STATES and state != "cancelled":
                msg = f"The task has already {state}." if state != "failed" else "The task has failed already."
                raise TaskEnded(msg, state=state)
        return await self.get(task_id, owner=owner)


def _known(found: Found | None, task_id: UUID) -> Found:
    if found is None:
        msg = f"There is no task {task_id}."
        raise UnknownTask(msg)
    return found
