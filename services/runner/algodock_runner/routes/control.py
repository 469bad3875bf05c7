"""Tasks told what to do: to stop."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request, status
from pydantic import BaseModel, ConfigDict

from algodock_runner.domain.tasks import TaskView
from algodock_runner.handlers.cancel_requests import CancelRequests
from algodock_runner.routes.access import Owner

__all__ = ["CancelRequest", "router"]


class CancelRequest(BaseModel):
    """The body of a cancel; with ``force`` the instance is restarted if the work goes on."""

    model_config = ConfigDict(extra="forbid")

    force: bool = False


def _cancels(request: Request) -> CancelRequests:
    found: CancelRequests = request.app.state.cancels
    return found


router = APIRouter(prefix="/internal/tasks")


@router.post("/{task_id}/cancel", status_code=status.HTTP_202_ACCEPTED)
async def cancel_task(
    task_id: UUID,
    cancels: Annotated[CancelRequests, Depends(_cancels)],
    owner: Owner,
    asked: CancelRequest | None = None,
) -> TaskView:
    """Cancel a waiting task, or ask a running one to stop."""
    return await cancels.cancel(task_id, owner=owner, force=asked is not None and asked.force)
