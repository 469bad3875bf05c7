"""HTTP in: what happened to a service."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict

from algodock_deployer import handlers

__all__ = ["make_router"]


class EntryAnswer(BaseModel):
    """One thing that happened."""

    model_config = ConfigDict(from_attributes=True)

    number: int
    at: datetime
    kind: str
    ok: bool
    actor: str
    release_id: UUID | None
    commit: str
    detail: str


class TimelineAnswer(BaseModel):
    """A service's timeline, newest first; ``next`` goes into ``before`` where there is more."""

    service_id: UUID
    name: str
    entries: list[EntryAnswer]
    next: int | None


def make_router(context: handlers.Context) -> APIRouter:
    """Return the routes."""
    router = APIRouter()

    @router.get("/services/{name}/timeline")
    async def timeline(
        name: str,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
        before: Annotated[int | None, Query(ge=1)] = None,
    ) -> TimelineAnswer:
        service, entries, more = await handlers.timeline_of(context, name, limit=limit, before=before)
        return TimelineAnswer(
            service_id=service.id,
            name=service.name,
            entries=[EntryAnswer.model_validate(one) for one in entries],
            next=entries[-1].number if more else None,
        )

    return router
