"""HTTP in: somebody has a call or a task for a service that sleeps."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel

from algodock_deployer import handlers

__all__ = ["make_router"]


class WakeAnswer(BaseModel):
    """Whether an instance is coming, so that waiting makes sense."""

    coming: bool


def make_router(context: handlers.Context) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/services")

    @router.post("/{name}/wake")
    async def wake(name: str) -> WakeAnswer:
        return WakeAnswer(coming=await handlers.wake(context, name))

    return router
