"""HTTP in: a commit shall get only some of the calls once it is pushed."""

from __future__ import annotations

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from algodock_deployer import handlers

__all__ = ["make_router"]


class CanaryBody(BaseModel):
    """Which commit, and how many per cent."""

    model_config = ConfigDict(extra="forbid")

    commit: str = Field(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")
    percent: int = Field(ge=1, le=99)


def make_router(context: handlers.Context) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/services")

    @router.put("/{name}/canary", status_code=204, response_class=Response)
    async def ask(name: str, body: CanaryBody) -> None:
        await handlers.ask_canary(context, name, body.commit, body.percent)

    return router
