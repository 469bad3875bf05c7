"""Running a task again: a new task made of an old one, which stays as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from algodock_common.events import TaskRerun
from algodock_common.observability import current_traceparent
from algodock_common.storage import ObjectNotFound
from algodock_runner.domain.errors import TaskInputGone, UnknownTask
from algodock_runner.domain.reruns import changes_body, rerun_of
from algodock_runner.repository.rerun import original

if TYPE_CHECKING:
    from uuid import UUID

    from algodock_common.database import Database
    from algodock_common.storage import ObjectStore
    from algodock_runner.domain.reruns import Original
    from algodock_runner.domain.tasks import TaskView
    from algodock_runner.handlers.submit import Made, Submission

__all__ = ["Reruns"]


class Reruns:
    """Runs tasks again."""

    def __init__(self, db: Database, store: ObjectStore, submission: Submission) -> None:
        """Keep what it works with."""
        self._db = db
        self._store = store
        self._submission = submission

    async def rerun(self, task_id: UUID, wanted: TaskRerun, *, visible_to: str | None, owner: str) -> Made:
        """Make a task for ``owner`` of one that ``visible_to`` (None: anybody) may see.

        Raises:
            UnknownTask: there is none.
            TaskInputGone: what it ran on has been removed.
            AlgoDockError: as ``Submission.submit``.
        """
        async with self._db.read() as session:
            found = await original(session, task_id, owner=visible_to)
        if found is None:
            msg = f"There is no task {task_id}."
            raise UnknownTask(msg)
        changed = changes_body(found, wanted)
        replaced = changed and "input" in wanted.model_fields_set
        body = None if replaced else await self._body(found, read=changed)
        task = rerun_of(found, wanted, body=body, owner=owner, traceparent=current_traceparent())
        return await self._submission.accept(task)

    async def again(self, task_id: UUID, *, owner: str, idempotency_key: str) -> TaskView:
        """Return the task that is ``task_id`` of ``owner`` once more; with the same key it is the same one.

        Raises:
            AlgoDockError: as ``rerun``.
        """
        wanted = TaskRerun(idempotency_key=idempotency_key)
        return (await self.rerun(task_id, wanted, visible_to=owner, owner=owner)).view

    async def _body(self, found: Original, *, read: bool) -> bytes | None:
        """Return the body; one in the object store only to ``read`` it, else it only has to be there."""
        if found.body_key is None:
            return found.body
        try:
            if read:
                return await self._store.get(found.body_key)
            if await self._store.stat(found.body_key) is not None:
                return None
        except ObjectNotFound:
            pass
        msg = f"The input of task {found.id} has been removed; submit it anew."
        raise TaskInputGone(msg)
