"""HTTP in: secrets of services, whose values come in and never go out."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, SecretStr
from starlette.responses import Response

from algodock_common.web import Identity, current_identity
from algodock_deployer import handlers

__all__ = ["make_router"]

if TYPE_CHECKING:
    from algodock_deployer.repository import SealedSecret

Caller = Annotated[Identity, Depends(current_identity)]


class SecretBody(BaseModel):
    """A secret's value."""

    model_config = ConfigDict(extra="forbid")

    value: SecretStr


class SecretAnswer(BaseModel):
    """A secret without its value."""

    name: str
    set_at: datetime
    set_by: str


class SecretsAnswer(BaseModel):
    """Secrets by name."""

    secrets: list[SecretAnswer]


def make_router(context: handlers.Context) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/secrets")

    @router.get("/{algorithm_id}")
    async def names(algorithm_id: UUID) -> SecretsAnswer:
        found = await handlers.secrets_of(context, algorithm_id)
        return SecretsAnswer(secrets=[_answer(one) for one in found])

    @router.put("/{algorithm_id}/{name}", status_code=204, response_class=Response)
    async def put(algorithm_id: UUID, name: str, body: SecretBody, caller: Caller) -> None:
        await handlers.put_secret(context, algorithm_id, name, body.value.get_secret_value(), actor=caller.name)

    @router.delete("/{algorithm_id}/{name}", status_code=204, response_class=Response)
    async def remove(algorithm_id: UUID, name: str, caller: Caller) -> None:
        await handlers.remove_secret(context, algorithm_id, name, actor=caller.name)

    return router


def _answer(one: SealedSecret) -> SecretAnswer:
    return SecretAnswer(name=one.name, set_at=one.set_at, set_by=one.set_by)
