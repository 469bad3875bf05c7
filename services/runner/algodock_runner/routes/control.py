"""Tasks told what to do: to stop."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from fastapi import APIRouter, status
from pydantic import BaseModel, ConfigDict

from algodock_runner.domain.tasks import TaskView
from algodock_runner.routes.access import Owner, TheDesk

__all__ = ["CancelRequest", "router"]


class CancelRequest(BaseModel):
    """The body of a cancel; ``force`` is not offered yet, and refused rather than ignored."""

    model_config = ConfigDict(extra="forbid")

    force: Literal[False] = False


router = APIRouter(prefix="/tasks")


@router.post("/{task_id}/cancel", status_code=status.HTTP_202_ACCEPTED)
async def cancel_task(task_id: UUID, desk: TheDesk, owner: Owner, _: CancelRequest | None = None) -> TaskView:
    """Cancel a waiting task, or ask a running one to stop."""
    return await desk.cancel(task_id, owner=owner)
