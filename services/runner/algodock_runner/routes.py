"""HTTP in: the runner's internal routes, called by the gateway in its callers' names."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response, status
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, ConfigDict, ValidationError

from algodock_common.errors import BadRequest, PayloadTooLarge
from algodock_common.events import TaskRequest, TaskState
from algodock_common.identifiers import AlgorithmName
from algodock_common.web import IDENTITY_HEADER, Identity, current_identity, require_service_token
from algodock_runner.domain.errors import InvalidTask
from algodock_runner.domain.tasks import TaskView
from algodock_runner.handlers.look import Desk
from algodock_runner.handlers.submit import Submission
from algodock_runner.repository.tasks import Filter

__all__ = ["router"]

ADMIN = "admin"
ENVELOPE_BYTES = 256 * 1024
"""What a request may have beside its input: the keys, the metadata, white space."""


class CancelRequest(BaseModel):
    """The body of a cancel; ``force`` is not offered yet, and refused rather than ignored."""

    model_config = ConfigDict(extra="forbid")

    force: Literal[False] = False


class TaskPage(BaseModel):
    """A page of tasks; ``next`` goes into ``after`` for the page that follows."""

    tasks: list[TaskView]
    next: UUID | None


async def _visible_owner(request: Request) -> str | None:
    """Return whose tasks the caller may see: an administrator, and a service for itself, everybody's."""
    if IDENTITY_HEADER not in request.headers:
        return None
    identity = await current_identity(request)
    return None if ADMIN in identity.roles else identity.key_id


def _submission(request: Request) -> Submission:
    found: Submission = request.app.state.submission
    return found


def _desk(request: Request) -> Desk:
    found: Desk = request.app.state.desk
    return found


Owner = Annotated[str | None, Depends(_visible_owner)]
TheDesk = Annotated[Desk, Depends(_desk)]

router = APIRouter(prefix="/internal/tasks", dependencies=[Depends(require_service_token)])


@router.post("", status_code=status.HTTP_202_ACCEPTED)
async def submit(
    request: Request,
    response: Response,
    identity: Annotated[Identity, Depends(current_identity)],
    submission: Annotated[Submission, Depends(_submission)],
) -> TaskView:
    """Accept a task: 202, or 200 with the task of the same idempotency key and body."""
    limit = request.app.state.settings.tasks.max_input_bytes + ENVELOPE_BYTES
    view, new = await submission.submit(_task_request(await _body(request, limit)), owner=identity.key_id)
    if not new:
        response.status_code = status.HTTP_200_OK
    return view


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


@router.post("/{task_id}/cancel", status_code=status.HTTP_202_ACCEPTED)
async def cancel_task(task_id: UUID, desk: TheDesk, owner: Owner, _: CancelRequest | None = None) -> TaskView:
    """Cancel a waiting task, or ask a running one to stop."""
    return await desk.cancel(task_id, owner=owner)


async def _body(request: Request, limit: int) -> bytes:
    """Read the body, and not one byte more than is allowed."""
    read = bytearray()
    async for chunk in request.stream():
        read += chunk
        if len(read) > limit:
            msg = f"The body is larger than {limit} bytes."
            raise PayloadTooLarge(msg)
    return bytes(read)


def _task_request(body: bytes) -> TaskRequest:
    try:
        document: Any = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        msg = f"The body is no JSON: {error}"
        raise BadRequest(msg) from error
    try:
        return TaskRequest.model_validate(document)
    except ValidationError as error:
        found = [
            {"path": ".".join(map(str, one["loc"])) or "body", "message": one["msg"]} for one in error.errors()[:20]
        ]
        raise InvalidTask("; ".join(f"{one['path']}: {one['message']}" for one in found[:3]), errors=found) from error


def _no_constant(name: str) -> None:
    msg = f"{name} is no JSON"
    raise ValueError(msg)
