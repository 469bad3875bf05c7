"""Internal routes, for services only: keys and what signs their callbacks, algorithms, restarts of instances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from algodock_common.web import require_service_token

if TYPE_CHECKING:
    from algodock_gateway.handlers.algorithms import Algorithms
    from algodock_gateway.handlers.callback_secrets import CallbackSecrets
    from algodock_gateway.handlers.credentials import Credentials
    from algodock_gateway.handlers.services import Services

__all__ = ["make_internal"]


class ShownKey(BaseModel):
    """A key that somebody showed to another service."""

    key: str = Field(min_length=1, max_length=512)


class InstanceRestart(BaseModel):
    """Which instance is to be replaced, and why; the same operation again is the same restart."""

    operation_id: UUID
    instance_id: UUID
    reason: str = Field(max_length=1000)


def make_internal(
    credentials: Credentials, secrets: CallbackSecrets, algorithms: Algorithms, services: Services
) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/internal", dependencies=[Depends(require_service_token)], include_in_schema=False)

    @router.post("/keys/verify")
    async def verify(body: ShownKey) -> dict[str, Any]:
        key = await credentials.verify(body.key)
        return {"key_id": key.key_id, "name": key.name, "roles": list(key.roles)}

    @router.get("/keys/{key_id}/callback-secret")
    async def callback_secrets(key_id: UUID) -> dict[str, Any]:
        return {"secrets": await secrets.valid(key_id)}

    @router.post("/services/{name}/restart", status_code=202)
    async def restart(name: str, body: InstanceRestart) -> dict[str, str]:
        await services.restart_instance(name, body.instance_id, operation_id=body.operation_id, reason=body.reason)
        return {"operation_id": str(body.operation_id)}

    @router.get("/algorithms")
    async def all_algorithms() -> dict[str, Any]:
        found = await algorithms.all()
        return {
            "algorithms": [
                {
                    "algorithm_id": str(one.id),
                    "algorithm": one.name,
                    "state": one.state,
                    "owner": one.owner,
                    "limits": one.limits.model_dump(exclude_none=True),
                }
                for one in found
            ]
        }

    return router
