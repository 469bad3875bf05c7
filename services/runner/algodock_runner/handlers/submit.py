"""Accepting tasks, by REST or by Kafka: when this returns, the rows are committed.

Nothing here waits for the broker: the bell and the events leave after the commit.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client import Counter

from algodock_common.errors import AlgoDockError
from algodock_common.observability import current_traceparent
from algodock_runner.domain.errors import IdempotencyConflict, TaskInputTooLarge, UnknownAlgorithm
from algodock_runner.domain.requests import input_key, new_task
from algodock_runner.handlers.intake import Intake
from algodock_runner.repository.accept import find_by_keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    from algodock_common.database import Database
    from algodock_common.events import TaskRequest
    from algodock_common.storage import ObjectStore
    from algodock_runner.domain.requests import NewTask, StoredBody
    from algodock_runner.domain.tasks import TaskView
    from algodock_runner.handlers.bell import Bell
    from algodock_runner.handlers.catalogue import Catalogue
    from algodock_runner.handlers.depth import QueueDepths
    from algodock_runner.settings import CallbackSettings, TaskSettings

__all__ = ["Made", "Submission"]

UPLOADS_AT_ONCE = 8

SUBMITTED = Counter("algodock_tasks_submitted_total", "Submissions by what became of them", ["outcome"])


class Made(NamedTuple):
    """The task of a request, and whether the request made it or one before."""

    view: TaskView
    new: bool


class Submission:
    """Accepts tasks."""

    def __init__(  # what it joins
        self,
        db: Database,
        store: ObjectStore,
        catalogue: Catalogue,
        bell: Bell,
        depths: QueueDepths,
        *,
        limits: TaskSettings,
        callbacks: CallbackSettings,
        gateway_url: str,
    ) -> None:
        """Keep what it works with."""
        self._db = db
        self._store = store
        self._catalogue = catalogue
        self._intake = Intake(db, bell, longest_wait_s=limits.longest_wait_s, gateway_url=gateway_url)
        self._depths = depths
        self._limits = limits
        self._callbacks = callbacks
        self._gateway_url = gateway_url
        self._uploads = asyncio.Semaphore(UPLOADS_AT_ONCE)

    async def submit(
        self,
        request: TaskRequest,
        *,
        owner: str,
        default_key: str | None = None,
        stored: StoredBody | None = None,
    ) -> Made:
        """Accept ``request`` for ``owner`` (an API key's id).

        With an idempotency key that the owner used for the same request before, the task of then is
        returned, however far it has come. ``default_key`` is the key of a request that names none.
        ``stored`` is a body that lies in the object store already; whoever put it there removes it
        unless the task is new.

        Raises:
            InvalidTask, CallbackAddressRefused, TaskInputTooLarge: the request is wrong.
            UnknownAlgorithm: nobody knows what should run it.
            IdempotencyConflict: the key was used for another request.
        """
        return await self._accept_one(self._checked(request, owner=owner, default_key=default_key, stored=stored))

    async def accept(self, task: NewTask) -> Made:
        """Accept a task that was made of something else than a request.

        Raises:
            AlgoDockError: as ``submit``.
        """
        self._check(task)
        return await self._accept_one(task)

    async def _accept_one(self, task: NewTask) -> Made:
        (made,) = await self._accept([task])
        if isinstance(made, AlgoDockError):
            raise made
        return made

    async def check(self, request: TaskRequest) -> None:
        """Say what is wrong with a request before its files are read, as far as that can be told.

        Raises:
            AlgoDockError: as ``submit``.
        """
        self._checked(request, owner="")
        if request.idempotency_key is None:  # with one it may have been accepted before, and stays that
            await self._catalogue.resolve(request.algorithm)

    async def submit_all(
        self, requests: Sequence[TaskRequest | AlgoDockError], *, owner: str
    ) -> list[Made | AlgoDockError]:
        """Accept many requests at once; return in their order the tasks, or why one was refused.

        Those that can be accepted are, in one transaction. A request that is an error already stays one.
        """
        answers: list[Made | AlgoDockError | NewTask] = []
        for request in requests:
            try:
                answers.append(request if isinstance(request, AlgoDockError) else self._checked(request, owner=owner))
            except AlgoDockError as error:
                answers.append(error)
        tasks = [one for one in answers if not isinstance(one, Made | AlgoDockError)]
        made = iter(await self._accept(tasks) if tasks else ())
        return [one if isinstance(one, Made | AlgoDockError) else next(made) for one in answers]

    def _checked(
        self,
        request: TaskRequest,
        *,
        owner: str,
        default_key: str | None = None,
        stored: StoredBody | None = None,
    ) -> NewTask:
        task = new_task(
            request,
            owner=owner,
            traceparent=current_traceparent(),
            default_key=default_key,
            stored=stored,
        )
        self._check(task)
        return task

    def _check(self, task: NewTask) -> None:
        if task.callback_url is not None:
            self._callbacks.destinations.check_url(task.callback_url)
        if len(task.body) > self._limits.max_input_bytes:
            msg = f"The input is {len(task.body)} bytes, {self._limits.max_input_bytes} are allowed."
            raise TaskInputTooLarge(msg)

    async def _accept(self, tasks: Sequence[NewTask]) -> list[Made | AlgoDockError]:
        """Accept the tasks of one owner; what is wrong with one of them is its answer."""
        answers: dict[UUID, Made | AlgoDockError] = {}
        fine = await self._known(tasks, answers)
        large = {task.id for task in fine if len(task.body) > self._limits.inline_input_bytes}
        # What was accepted stays accepted, whatever is refused now; and no body is stored a second time.
        answers |= await self._made_before([task for task in tasks if task.id in answers or task.id in large])
        fine = [task for task in fine if task.id not in answers]
        if large:
            stored = await asyncio.gather(
                *(self._with_stored_body(task) if task.id in large else _done(task) for task in fine)
            )
            answers |= {
                task.id: error for task, error in zip(fine, stored, strict=True) if isinstance(error, AlgoDockError)
            }
            fine = [task for task in stored if not isinstance(task, AlgoDockError)]
        views = (
            await self._intake.accept(fine) if fine else []
        )  # an error may come after the commit: no body is removed
        answers |= {task.id: Made(view, new=True) for task, view in zip(fine, views, strict=True) if view is not None}
        SUBMITTED.labels("accepted").inc(sum(view is not None for view in views))
        lost = [task for task, view in zip(fine, views, strict=True) if view is None]
        if lost:
            answers |= {task.id: _gone() for task in lost} | await self._made_before(lost)
            await self._discard(task.id for task in lost if task.id in large)
        return [answers[task.id] for task in tasks]

    async def _known(self, tasks: Sequence[NewTask], answers: dict[UUID, Made | AlgoDockError]) -> list[NewTask]:
        """Return the tasks whose algorithms are known and have room, by their names; the others get their answer."""
        algorithms = await self._catalogue.resolve_all({task.algorithm for task in tasks})
        for found in algorithms.values():
            if not isinstance(found, UnknownAlgorithm):
                await self._depths.look(found)
        known = []
        for task in tasks:
            found = algorithms[task.algorithm]
            if isinstance(found, UnknownAlgorithm):
                answers[task.id] = found
            elif not self._depths.take(found):
                answers[task.id] = self._depths.full(found)
            else:
                known.append(task if task.algorithm == found.name else replace(task, algorithm=found.name))
        return known

    async def _made_before(self, tasks: Sequence[NewTask]) -> dict[UUID, Made | AlgoDockError]:
        """Return by id the answers to tasks whose owner has used their idempotency keys."""
        keys = [task.idempotency_key for task in tasks if task.idempotency_key is not None]
        if not keys:
            return {}
        async with self._db.read() as session:
            found = await find_by_keys(session, owner=tasks[0].owner, keys=keys, gateway_url=self._gateway_url)
        answers: dict[UUID, Made | AlgoDockError] = {}
        for task in tasks:
            if task.idempotency_key not in found:
                continue
            view, request_hash = found[task.idempotency_key]
            if request_hash == task.request_hash:
                SUBMITTED.labels("repeated").inc()
                answers[task.id] = Made(view, new=False)
            else:
                SUBMITTED.labels("conflict").inc()
                msg = f"The idempotency key {task.idempotency_key!r} was used for another request."
                answers[task.id] = IdempotencyConflict(msg, task_id=str(view.id))
        return answers

    async def _with_stored_body(self, task: NewTask) -> NewTask | AlgoDockError:
        """Put a body into the object store that is too large for its row."""
        key = input_key(task.id)
        try:
            async with self._uploads:
                await self._store.put(key, task.body, task.content_type)
        except AlgoDockError as error:
            return error
        return replace(task, body_key=key)

    async def _discard(self, tasks: Iterable[UUID]) -> None:
        """Remove inputs that no row names; what stays behind is the sweeper's."""
        for task_id in tasks:
            with contextlib.suppress(AlgoDockError):
                await self._store.remove(input_key(task_id))


async def _done(task: NewTask) -> NewTask:
    return task


def _gone() -> IdempotencyConflict:
    """Answer for a key that was taken a moment ago and is free now."""
    msg = "The task with this idempotency key has just been removed; submit again."
    return IdempotencyConflict(msg)
