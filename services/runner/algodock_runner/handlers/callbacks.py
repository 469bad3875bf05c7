"""Where owners ask for their callbacks, and have them sent again; the workers send them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from algodock_runner.domain.callback_views import CallbackFilter, Enabled, Redelivered
from algodock_runner.domain.errors import CallbackNotDue, CallbackTargetDisabled, NoCallback
from algodock_runner.repository import callback_log

if TYPE_CHECKING:
    from uuid import UUID

    from algodock_common.database import Database
    from algodock_runner.domain.callback_views import (
        CallbackDetail,
        CallbackSummary,
        DisabledTarget,
        EnableRequest,
        RedeliverRequest,
    )

__all__ = ["CallbackDesk"]

MOST = 1000


class CallbackDesk:
    """Reads callbacks and makes them due again; ``owner`` None sees everybody's."""

    def __init__(self, db: Database) -> None:
        """Keep the database."""
        self._db = db

    async def get(self, task_id: UUID, *, owner: str | None) -> CallbackDetail:
        """Return a task's callback and its deliveries.

        Raises:
            NoCallback: there is no task with one that ``owner`` may see.
        """
        async with self._db.read() as session:
            found = await callback_log.find(session, task_id, owner=owner)
        if found is None:
            msg = f"There is no task {task_id}, or it was submitted without a callback_url."
            raise NoCallback(msg)
        return found

    async def page(self, wanted: CallbackFilter) -> list[CallbackSummary]:
        """Return a page of callbacks, the newest task first."""
        async with self._db.read() as session:
            return await callback_log.listed(session, wanted)

    async def redeliver(self, task_id: UUID, *, owner: str | None) -> CallbackDetail:
        """Send a task's callback again, with the same id, whatever became of it; its schedule begins anew.

        Raises:
            NoCallback: there is none.
            CallbackNotDue: the task has not ended.
            CallbackTargetDisabled: its address must be enabled first.
        """
        found = await self.get(task_id, owner=owner)
        if found.created_at is None:
            msg = "The task has not ended: its callback leaves when it does."
            raise CallbackNotDue(msg)
        async with self._db.transaction() as tx:
            made_due = await callback_log.redeliver(tx, CallbackFilter(limit=1), task_id=task_id)
            reason = None if made_due else await callback_log.disabled_reason(tx.session, task_id)
        if reason is not None:
            msg = f"{found.url}: {reason}. Enable the address first: POST /api/v1/callbacks/enable."
            raise CallbackTargetDisabled(msg, url=found.url)
        return await self.get(task_id, owner=owner)

    async def redeliver_many(self, request: RedeliverRequest, *, owner: str | None) -> Redelivered:
        """Send again what the request names; addresses that are disabled get nothing."""
        wanted = CallbackFilter(owner=owner, **request.model_dump())
        async with self._db.transaction() as tx:
            count = await callback_log.redeliver(tx, wanted)
        return Redelivered(redelivered=count, more=count == wanted.limit)

    async def disabled(self, *, owner: str | None) -> list[DisabledTarget]:
        """Return the addresses that are disabled, the last one first."""
        async with self._db.read() as session:
            return await callback_log.disabled(session, owner=owner, limit=MOST)

    async def enable(self, request: EnableRequest, *, owner: str | None) -> Enabled:
        """Let callbacks go to an address again; asking again changes nothing."""
        async with self._db.transaction() as tx:
            was_disabled = await callback_log.enable(tx, request.url, owner=owner)
            count = 0
            if request.redeliver:
                missed = CallbackFilter(owner=owner, state="disabled", url=request.url, limit=MOST)
                count = await callback_log.redeliver(tx, missed)
        return Enabled(url=request.url, was_disabled=was_disabled, redelivered=count, more=count == MOST)
