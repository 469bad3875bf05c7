"""Tasks and their results, read."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response
from fastapi.responses import RedirectResponse
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, Json

from algodock_common.events import TaskState
from algodock_common.identifiers import AlgorithmName
from algodock_runner.domain.tasks import TaskView
from algodock_runner.repository.tasks import Filter
from algodock_runner.routes.access import Own, Owner, TheDesk

__all__ = ["TaskPage", "Wanted", "router"]


class TaskPage(BaseModel):
    """A page of tasks; ``next`` goes into ``after`` for the page that follows."""

    tasks: list[TaskView]
    next: UUID | None


class Wanted(BaseModel):
    """Which tasks to list; all that is given must hold. ``metadata`` is a JSON object of texts."""

    model_config = ConfigDict(extra="forbid")

    algorithm: AlgorithmName | None = None
    state: TaskState | None = None
    mine: bool = False
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    idempotency_key: str | None = None
    metadata: Json[dict[str, str]] | None = None
    limit: int = Field(default=50, ge=1, le=200)
    after: UUID | None = None


router = APIRouter(prefix="/internal/tasks")


@router.get("")
async def list_tasks(wanted: Annotated[Wanted, Query()], desk: TheDesk, owner: Owner, own: Own) -> TaskPage:
    """List tasks, newest first."""
    page = await desk.list(
        Filter(
            own if wanted.mine else owner,
            wanted.algorithm,
            wanted.state,
            wanted.after,
            wanted.limit,
            wanted.since,
            wanted.until,
            wanted.idempotency_key,
            wanted.metadata,
        )
    )
    return TaskPage(tasks=page, next=page[-1].id if len(page) == wanted.limit else None)


@router.get("/{task_id}")
async def get_task(
    task_id: UUID,
    desk: TheDesk,
    owner: Owner,
    place: Annotated[bool, Query(description="say where in the queue it waits")] = False,  # noqa: FBT002
) -> TaskView:
    """Return one task."""
    return await desk.get(task_id, owner=owner, place=place)


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
