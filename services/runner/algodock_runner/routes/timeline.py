"""What happened to tasks, and for who watches many: how they stand."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from algodock_runner.domain.timeline import Timeline
from algodock_runner.routes.access import Owner, TheDesk

__all__ = ["Standing", "Watched", "router"]


class Watched(BaseModel):
    """Tasks that somebody watches."""

    ids: list[UUID] = Field(max_length=10_000)


class Standing(BaseModel):
    """How tasks stand: a word for each that is there, another one after every step."""

    standing: dict[UUID, str]


router = APIRouter(prefix="/internal/tasks")


@router.get("/{task_id}/timeline")
async def get_timeline(
    task_id: UUID, desk: TheDesk, owner: Owner, after: Annotated[int, Query(ge=-1)] = -1
) -> Timeline:
    """Return a task's steps, oldest first."""
    return await desk.timeline(task_id, owner=owner, after=after)


@router.post("/standing")
async def get_standing(watched: Watched, desk: TheDesk) -> Standing:
    """Return how tasks stand; the gateway asks for all that it has readers of, in its own name."""
    return Standing(standing=await desk.standing(watched.ids))
