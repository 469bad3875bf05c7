"""The one writer of acceptances: what arrives while one statement is under way shares the next."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from algodock_common.events import Event, TaskAccepted, TaskState
from algodock_common.outages import is_infrastructure
from algodock_runner.repository.accept import Announced, accept

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from algodock_common.database import Database
    from algodock_runner.domain.requests import NewTask
    from algodock_runner.domain.tasks import TaskView
    from algodock_runner.handlers.bell import Bell
    from algodock_runner.repository.accept import Accepted

__all__ = ["Intake"]

SOURCE = "/runner"
GROUP = 1000
"""Tasks of one statement; a submission is never divided."""


class _Submission:
    """Tasks that are accepted together, with the events that tell of them, and who waits for the answer."""

    def __init__(self, tasks: Sequence[NewTask]) -> None:
        self.events = {task.id: _event(task, "queued") for task in tasks}
        self.later = {task.id: _event(task, "accepted") for task in tasks if task.not_before is not None}
        self.announced = [
            Announced(task, _json(self.events[task.id]), _json(self.later[task.id]) if task.id in self.later else None)
            for task in tasks
        ]
        self.answer: asyncio.Future[list[TaskView | None]] = asyncio.get_running_loop().create_future()


class Intake:
    """Writes acceptances, publishes their events and rings for them."""

    def __init__(self, db: Database, bell: Bell, *, longest_wait_s: float, gateway_url: str) -> None:
        """Keep what it works with."""
        self._db = db
        self._bell = bell
        self._longest_wait_s = longest_wait_s
        self._gateway_url = gateway_url
        self._waiting: list[_Submission] = []
        self._writer: asyncio.Task[None] | None = None

    async def accept(self, tasks: Sequence[NewTask]) -> list[TaskView | None]:
        """Return, when they are committed, each task as it stands; None where its idempotency key has one already.

        All of them are accepted, or none is.

        Raises:
            Exception: PostgreSQL is away, or refuses.
        """
        mine = _Submission(tasks)
        self._waiting.append(mine)
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write(), name="intake")
        return await mine.answer

    async def _write(self) -> None:
        while self._waiting:
            await self._write_group(self._next_group())

    def _next_group(self) -> list[_Submission]:
        size, count = 0, 0
        for one in self._waiting:
            size += len(one.announced)
            if count and size > GROUP:
                break
            count += 1
        group, self._waiting = self._waiting[:count], self._waiting[count:]
        return [one for one in group if not one.answer.cancelled()]

    async def _write_group(self, group: list[_Submission]) -> None:
        if not group:
            return
        try:
            accepted = await accept(
                self._db,
                [announced for one in group for announced in one.announced],
                longest_wait_s=self._longest_wait_s,
                gateway_url=self._gateway_url,
            )
        except Exception as error:  # noqa: BLE001  # every submission hears of its own
            if len(group) > 1 and not is_infrastructure(error):  # one of them cannot be written: its neighbours can
                for one in group:
                    await self._write_group([one])
                return
            for one in group:
                if not one.answer.done():
                    one.answer.set_exception(error)
            return
        self._tell(group, accepted)

    def _tell(self, group: list[_Submission], accepted: dict[UUID, Accepted]) -> None:
        """Answer, publish and ring: it is committed."""
        told = []
        for one in group:
            views: list[TaskView | None] = []
            for announced in one.announced:
                found = accepted.get(announced.task.id)
                views.append(None if found is None else found.view)
                if found is not None:
                    event = (one.later if found.later else one.events)[announced.task.id]
                    told.append(event.model_copy(update={"sequence": found.sequence}))
            if not one.answer.done():
                one.answer.set_result(views)
        self._db.outbox.publish_soon(sorted(told, key=lambda event: event.sequence))
        self._bell.ring({found.view.algorithm for found in accepted.values() if not found.later})


def _event(task: NewTask, state: TaskState) -> Event[TaskAccepted]:
    data = TaskAccepted(id=task.id, idempotency_key=task.idempotency_key, state=state, algorithm=task.algorithm)
    return Event[TaskAccepted].of(data, source=SOURCE, traceparent=task.traceparent)


def _json(event: Event[TaskAccepted]) -> bytes:
    return event.model_dump_json().encode()
