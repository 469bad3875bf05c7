"""HTTP in: how commands stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from algodock_deployer import handlers

if TYPE_CHECKING:
    from algodock_deployer.domain.releases import Operation

__all__ = ["make_router"]


class AskedBody(BaseModel):
    """Which operations are asked about."""

    model_config = ConfigDict(extra="forbid")

    ids: Annotated[list[UUID], Field(max_length=10_000)]


class OperationAnswer(BaseModel):
    """How one stands: queued, running, done, or failed with a reason."""

    id: UUID
    state: str
    reason: str


class OperationsAnswer(BaseModel):
    """Those that have come here."""

    operations: list[OperationAnswer]


def _answer(one: Operation) -> OperationAnswer:
    return OperationAnswer(id=one.id, state=one.state, reason=one.reason)


def make_router(context: handlers.Context) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/operations")

    @router.post("/look")
    async def look(body: AskedBody) -> OperationsAnswer:
        found = await handlers.find_operations(context, body.ids)
        return OperationsAnswer(operations=[_answer(one) for one in found])

    return router
