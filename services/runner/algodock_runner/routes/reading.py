"""Tasks and their results, read."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel

from algodock_common.events import TaskState
from algodock_common.identifiers import AlgorithmName
from algodock_runner.domain.tasks import TaskView
from algodock_runner.repository.tasks import Filter
from algodock_runner.routes.access import Owner, TheDesk

__all__ = ["TaskPage", "router"]


class TaskPage(BaseModel):
    """A page of tasks; ``next`` goes into ``after`` for the page that follows."""

    tasks: list[TaskView]
    next: UUID | None


router = APIRouter(prefix="/tasks")


@router.get("")
async def list_tasks(  # one for each filter
    desk: TheDesk,
    owner: Owner,
    algorithm: AlgorithmName | None = None,
    state: TaskState | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    after: UUID | None = None,
) -> TaskPage:
    """List tasks, newest first."""
    page = await desk.list(Filter(owner, algorithm, state, after, limit))
    return TaskPage(tasks=page, next=page[-1].id if len(page) == limit else None)


@router.get("/{task_id}")
async def get_task(task_id: UUID, desk: TheDesk, owner: Owner) -> TaskView:
    """Return one task."""
    return await desk.get(task_id, owner=owner)


@router.get("/{task_id}/result", response_class=Response)
async def get_result(
    task_id: UUID,
    desk: TheDesk,
    owner: Owner,
    link: Annotated[bool, Query(description="redirect to the object store whatever the size")] = False,  # noqa: FBT002
) -> Response:
    """Return a small result, or redirect (307) to where a large one lies."""
    result = await desk.result(task_id, owner=owner)
    if link or result.inline is None:
        return RedirectResponse(await desk.link(result), headers={"cache-control": "no-store"})
    return Response(result.inline, headers={"content-type": result.content_type})
