"""What the gateway learns from others' events and signals: versions, ended operations, finished tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from pydantic_core import from_json

from algodock_common.database import accept_once
from algodock_gateway.domain.operations import ended_by
from algodock_gateway.repository import Operations, Versions

if TYPE_CHECKING:
    from algodock_common.database import Database
    from algodock_common.events import Event, ReleaseChanged, TaskFinished
    from algodock_gateway.handlers.waiters import Waiters

__all__ = ["Following"]

CONSUMER = "gateway"

log = structlog.get_logger()


class Following:
    """Applies events; each is one transaction."""

    def __init__(self, database: Database, *, releases: Waiters, tasks: Waiters, moves: Waiters) -> None:
        """``releases`` wakes by the algorithm's name, ``tasks`` and ``moves`` by the task's id.

        ``tasks`` is for who waits for a task's end, ``moves`` for who watches all that happens to it.
        """
        self._database = database
        self._releases = releases
        self._tasks = tasks
        self._moves = moves

    def tasks_are_watched(self) -> bool:
        """Return whether anybody waits for a task's end, or watches one."""
        return bool(len(self._tasks) or len(self._moves))

    async def release_changed(self, event: Event[ReleaseChanged]) -> None:
        """Keep the version, end the operations that it ends, wake who waits for it."""
        release = event.data
        async with self._database.transaction() as tx:
            if await accept_once(tx, CONSUMER, event):
                await Versions(tx.session).put(release)
                ended = ended_by(release)
                if ended is not None and await Operations(tx.session).end(release.algorithm_id, ended):
                    log.info("operations.ended", algorithm=release.algorithm, state=ended.state)
        self._releases.wake(release.algorithm)

    async def task_finished(self, event: Event[TaskFinished]) -> None:
        """Wake the long polls of the task that heard no signal."""
        self._tasks.wake(str(event.data.id))
        self._moves.wake(str(event.data.id), {"event": event.type})

    def task_told(self, payload: bytes) -> None:
        """Answer the long polls of a task with the signal of its end: it is the task as the runner shows it."""
        if self.tasks_are_watched():
            task = from_json(payload)
            self._tasks.wake(task["id"], task)
            self._moves.wake(task["id"], task)

    def task_moved(self, payload: bytes) -> None:
        """Wake who watches a task that began to run, or whose algorithm said something."""
        if len(self._moves):
            self._moves.wake(payload.decode())
