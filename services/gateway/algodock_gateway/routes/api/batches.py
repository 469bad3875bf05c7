"""``/api/v1/services/batch``: one command to all services, to a group, or to some."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from algodock_gateway.domain.batches import Batch, BatchAction, BatchResult, BatchState, Selection
from algodock_gateway.routes.gatekeeper import Caller

if TYPE_CHECKING:
    from algodock_gateway.handlers.batches import Batches

__all__ = ["make_router"]

Wait = Annotated[float, Query(ge=0, le=60, description="seconds to wait for the end of all")]


class BatchBody(BaseModel):
    """What is to be done with whom: exactly one of `all`, `group` and `services`."""

    model_config = ConfigDict(extra="forbid")

    action: BatchAction
    all: bool = False
    group: str | None = None
    services: list[Annotated[str, Field(min_length=1, max_length=255)]] = Field(default_factory=list, max_length=10_000)


class BatchAnswer(BaseModel):
    """One result a service; `success` is false as soon as one failed or was refused."""

    success: bool
    batch_id: UUID
    action: BatchAction
    actor: str
    state: BatchState
    succeeded: int
    failed: int
    open: int
    results: list[BatchResult]
    created_at: datetime | None = None

    @classmethod
    def of(cls, batch: Batch) -> BatchAnswer:
        """Return the answer for a batch."""
        failed = batch.count("failed", "refused")
        return cls(
            success=not failed,
            batch_id=batch.id,
            action=batch.action,
            actor=batch.actor,
            state=batch.state,
            succeeded=batch.count("succeeded"),
            failed=failed,
            open=batch.count("accepted", "running"),
            results=batch.results,
            created_at=batch.created_at,
        )


def make_router(batches: Batches) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/services", tags=["services"])

    @router.post("/batch", status_code=HTTPStatus.ACCEPTED)
    async def begin(body: BatchBody, caller: Caller, wait: Wait = 0) -> BatchAnswer:
        """Start, stop, restart or redeploy many services; each answers for itself."""
        selection = Selection(body.all, body.group, tuple(body.services))
        batch = await batches.begin(body.action, selection, actor=caller.name)
        return BatchAnswer.of(await batches.look(batch.id, wait_s=wait) if wait else batch)

    @router.get("/batches/{batch_id}")
    async def look(batch_id: UUID, _: Caller, wait: Wait = 0) -> BatchAnswer:
        """Show what became of a command to many services, one by one."""
        return BatchAnswer.of(await batches.look(batch_id, wait_s=wait))

    return router
