"""Callbacks: how they stand, their log, and having them sent again."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, status
from pydantic import BaseModel

from algodock_runner.domain.callback_views import (
    CallbackDetail,
    CallbackFilter,
    CallbackQuery,
    CallbackSummary,
    DisabledTarget,
    Enabled,
    EnableRequest,
    Redelivered,
    RedeliverRequest,
)
from algodock_runner.handlers.callbacks import CallbackDesk
from algodock_runner.routes.access import Owner

__all__ = ["CallbackPage", "router"]


class CallbackPage(BaseModel):
    """A page of callbacks; ``next`` goes into ``after`` for the page that follows."""

    callbacks: list[CallbackSummary]
    next: UUID | None


class DisabledTargets(BaseModel):
    """The addresses that are disabled."""

    disabled: list[DisabledTarget]


def _desk(request: Request) -> CallbackDesk:
    found: CallbackDesk = request.app.state.callbacks
    return found


TheDesk = Annotated[CallbackDesk, Depends(_desk)]

router = APIRouter()


@router.get("/internal/tasks/{task_id}/callback")
async def get_callback(task_id: UUID, desk: TheDesk, owner: Owner) -> CallbackDetail:
    """Return a task's callback and its deliveries."""
    return await desk.get(task_id, owner=owner)


@router.post("/internal/tasks/{task_id}/callback/redeliver", status_code=status.HTTP_202_ACCEPTED)
async def redeliver_callback(task_id: UUID, desk: TheDesk, owner: Owner) -> CallbackDetail:
    """Send a task's callback again."""
    return await desk.redeliver(task_id, owner=owner)


@router.get("/internal/callbacks")
async def list_callbacks(wanted: Annotated[CallbackQuery, Query()], desk: TheDesk, owner: Owner) -> CallbackPage:
    """List callbacks, the newest task first."""
    page = await desk.page(CallbackFilter(owner=owner, **wanted.model_dump()))
    return CallbackPage(callbacks=page, next=page[-1].task_id if len(page) == wanted.limit else None)


@router.post("/internal/callbacks/redeliver", status_code=status.HTTP_202_ACCEPTED)
async def redeliver_callbacks(body: RedeliverRequest, desk: TheDesk, owner: Owner) -> Redelivered:
    """Send many callbacks again."""
    return await desk.redeliver_many(body, owner=owner)


@router.get("/internal/callbacks/disabled")
async def list_disabled(desk: TheDesk, owner: Owner) -> DisabledTargets:
    """List the addresses that get nothing."""
    return DisabledTargets(disabled=await desk.disabled(owner=owner))


@router.post("/internal/callbacks/enable")
async def enable_address(body: EnableRequest, desk: TheDesk, owner: Owner) -> Enabled:
    """Let callbacks go to an address again."""
    return await desk.enable(body, owner=owner)
