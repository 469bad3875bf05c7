"""Reading tasks."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, TypeVar

from algodock_runner.domain.errors import ResultGone, TaskHasNoResult, UnknownTask
from algodock_runner.domain.queue import estimated_start
from algodock_runner.domain.timeline import Timeline, transitions
from algodock_runner.repository import queue, tasks, timeline

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncSession

    from algodock_common.database import Database
    from algodock_common.storage import ObjectStore
    from algodock_runner.domain.tasks import StoredResult, TaskView
    from algodock_runner.settings import TaskSettings

__all__ = ["Desk"]

Found = TypeVar("Found")

RECENT_FOR_S: Final = 5.0
MOST_RECENT: Final = 1000


class Desk:
    """Where owners ask for their tasks; ``owner`` None sees everybody's."""

    def __init__(self, db: Database, store: ObjectStore, *, limits: TaskSettings, gateway_url: str) -> None:
        """Keep what it works with."""
        self._db = db
        self._store = store
        self._limits = limits
        self._gateway_url = gateway_url
        self._recent: dict[str, tuple[float, float | None]] = {}

    async def get(self, task_id: UUID, *, owner: str | None, place: bool = False) -> TaskView:
        """Return one task; with ``place`` one that waits says where in the queue, and about when it begins.

        Raises:
            UnknownTask: there is none that ``owner`` may see.
        """
        view = _known(await tasks.find(self._db, task_id, owner=owner, gateway_url=self._gateway_url), task_id)
        if not place or view.state != "queued":
            return view
        async with self._db.read() as session:
            recent_s = await self._recent_s(session, view)
            stands = await queue.place(session, task_id, view.algorithm, recent_s=recent_s)
        if stands is None:
            return view
        start = estimated_start(stands)
        return view.model_copy(update={"position": stands.position, "estimated_start_at": start})

    async def _recent_s(self, session: AsyncSession, view: TaskView) -> float | None:
        """Return how long the algorithm's last tasks took, as it was known a few seconds ago."""
        now = time.monotonic()
        known = self._recent.get(view.algorithm)
        if known is None or now - known[0] > RECENT_FOR_S:
            if len(self._recent) > MOST_RECENT:
                self._recent.clear()
            known = self._recent[view.algorithm] = now, await queue.recent_s(session, view.id, view.algorithm)
        return known[1]

    async def list(self, wanted: tasks.Filter) -> list[TaskView]:
        """Return a page of tasks, newest first."""
        async with self._db.read() as session:
            return await tasks.listed(session, wanted, gateway_url=self._gateway_url)

    async def timeline(self, task_id: UUID, *, owner: str | None, after: int = -1) -> Timeline:
        """Return the steps of a task behind number ``after``; of very many the first, and where to go on.

        Raises:
            UnknownTask: there is none that ``owner`` may see.
        """
        async with self._db.read() as session:
            found = _known(await timeline.history(session, task_id, owner=owner, after=after), task_id)
        steps = transitions(found, after=after)
        return Timeline(
            id=found.id,
            state=found.state,
            algorithm=found.algorithm,
            attempt=found.attempt,
            transitions=steps,
            next=steps[-1].index if found.more else None,
        )

    async def standing(self, ids: Sequence[UUID]) -> dict[UUID, str]:
        """Return how each of these tasks stands, as one word that changes with every step."""
        async with self._db.read() as session:
            found = await timeline.standing(session, ids)
        return {id_: f"{state}/{attempt}" for id_, (state, attempt) in found.items()}

    async def result(self, task_id: UUID, *, owner: str | None) -> StoredResult:
        """Return where the result lies, with its bytes when it is small.

        Raises:
            UnknownTask: there is no such task.
            TaskHasNoResult: it has not succeeded; the detail says how it stands.
            ResultGone: it was removed; the detail says when and why.
        """
        result = _known(await tasks.result_of(self._db, task_id, owner=owner), task_id)
        if result.stored is None:
            msg = f"The task is {result.state} and has no result."
            raise TaskHasNoResult(msg, state=result.state, error=result.error)
        if result.removed_at is not None:
            why = "its time was over" if result.by_age else "newer results of the algorithm filled its quota"
            msg = f"The result was removed at {result.removed_at:%Y-%m-%d %H:%M:%S} UTC: {why}."
            reason = "age" if result.by_age else "quota"
            raise ResultGone(msg, reason=reason, removed_at=result.removed_at.isoformat(), bytes=result.stored.size)
        return result.stored

    async def link(self, result: StoredResult) -> str:
        """Return a link that reads the result from the object store for a while.

        One that is only in its row yet is written at once; its worker writes the same again.

        Raises:
            ObjectStoreUnavailable: it cannot be written now; it is readable without a link.
        """
        if not result.stored and result.inline is not None:
            await self._store.put(result.key, result.inline, result.content_type)
        return await self._store.presigned_get(result.key, self._limits.result_link_s)


def _known(found: Found | None, task_id: UUID) -> Found:
    if found is None:
        msg = f"There is no task {task_id}."
        raise UnknownTask(msg)
    return found
