"""Accepting a task, by REST or by Kafka: when this returns, the row is committed.

Nothing here waits for the broker: the bell and the events leave after the commit.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from prometheus_client import Counter

from algodock_common.errors import AlgoDockError
from algodock_common.events import TaskAccepted
from algodock_common.observability import current_traceparent
from algodock_runner.domain.addresses import check_callback_url
from algodock_runner.domain.errors import IdempotencyConflict, TaskInputTooLarge, UnknownAlgorithm
from algodock_runner.domain.requests import new_task
from algodock_runner.repository import tasks

if TYPE_CHECKING:
    from algodock_common.database import Database
    from algodock_common.events import TaskRequest
    from algodock_common.storage import ObjectStore
    from algodock_runner.domain.requests import NewTask
    from algodock_runner.domain.tasks import TaskView
    from algodock_runner.handlers.bell import Bell
    from algodock_runner.handlers.catalogue import Catalogue
    from algodock_runner.settings import CallbackSettings, TaskSettings

__all__ = ["Submission"]

SUBMITTED = Counter("algodock_tasks_submitted_total", "Submissions by what became of them", ["outcome"])


class Submission:
    """Accepts tasks."""

    def __init__(  # what it joins
        self,
        db: Database,
        store: ObjectStore,
        catalogue: Catalogue,
        bell: Bell,
        *,
        limits: TaskSettings,
        callbacks: CallbackSettings,
        gateway_url: str,
    ) -> None:
        """Keep what it works with."""
        self._db = db
        self._store = store
        self._catalogue = catalogue
        self._bell = bell
        self._limits = limits
        self._callbacks = callbacks
        self._gateway_url = gateway_url

    async def submit(
        self, request: TaskRequest, *, owner: str, default_key: str | None = None
    ) -> tuple[TaskView, bool]:
        """Accept ``request`` for ``owner`` (an API key's id); return the task, and whether it is new.

        With an idempotency key that the owner used for the same request before, the task of then is
        returned, however far it has come.

        Raises:
            InvalidTask, CallbackAddressRefused, TaskInputTooLarge: the request is wrong.
            UnknownAlgorithm: nobody knows what should run it.
            IdempotencyConflict: the key was used for another request.
        """
        if request.callback_url is not None:
            check_callback_url(request.callback_url, allow_private=self._callbacks.allow_private)
        task = new_task(request, owner=owner, traceparent=current_traceparent(), default_key=default_key)
        if len(task.body) > self._limits.max_input_bytes:
            msg = f"The input is {len(task.body)} bytes, {self._limits.max_input_bytes} are allowed."
            raise TaskInputTooLarge(msg)
        try:
            algorithm = await self._catalogue.resolve(task.algorithm)
        except UnknownAlgorithm:
            made = await self._made_before(task)  # what was accepted stays accepted
            if made is None:
                raise
            return made, False
        task = replace(task, algorithm=algorithm.name)
        view = await self._accept(task)
        if view is not None:
            SUBMITTED.labels("accepted").inc()
            if view.state == "queued":
                self._bell.ring([view.algorithm])
            return view, True
        made = await self._made_before(task)
        if made is None:  # it was there a moment ago
            msg = "The task with this idempotency key has just been removed; submit again."
            raise IdempotencyConflict(msg)
        return made, False

    async def _accept(self, task: NewTask) -> TaskView | None:
        body_key = None
        if len(task.body) > self._limits.inline_input_bytes:
            if await self._made_before(task) is not None:
                return None
            body_key = f"tasks/{task.id}/input"
            await self._store.put(body_key, task.body, task.content_type)
        try:
            async with self._db.transaction() as tx:
                view = await tasks.accept(
                    tx,
                    task,
                    body_key=body_key,
                    longest_wait_s=self._limits.longest_wait_s,
                    gateway_url=self._gateway_url,
                )
                if view is not None:
                    tx.emit(
                        TaskAccepted(
                            id=view.id,
                            idempotency_key=view.idempotency_key,
                            state=view.state,
                            algorithm=view.algorithm,
                        )
                    )
        except BaseException:
            await self._discard(body_key)
            raise
        if view is None:
            await self._discard(body_key)
        return view

    async def _made_before(self, task: NewTask) -> TaskView | None:
        if task.idempotency_key is None:
            return None
        async with self._db.read() as session:
            found = await tasks.find_by_key(
                session, owner=task.owner, key=task.idempotency_key, gateway_url=self._gateway_url
            )
        if found is None:
            return None
        view, request_hash = found
        if request_hash != task.request_hash:
            SUBMITTED.labels("conflict").inc()
            msg = f"The idempotency key {task.idempotency_key!r} was used for another request."
            raise IdempotencyConflict(msg, task_id=str(view.id))
        SUBMITTED.labels("repeated").inc()
        return view

    async def _discard(self, body_key: str | None) -> None:
        """Remove an input that no row names; what stays behind costs room, nothing else."""
        if body_key is not None:
            with contextlib.suppress(AlgoDockError):
                await self._store.remove(body_key)
