"""Internal routes, for services only: keys and what signs their callbacks, algorithms, restarts of instances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header
from pydantic import BaseModel, Field
from starlette.responses import Response

from algodock_common.errors import Unavailable
from algodock_common.web import require_service_token

if TYPE_CHECKING:
    from algodock_gateway.handlers.algorithms import Algorithms
    from algodock_gateway.handlers.callback_secrets import CallbackSecrets
    from algodock_gateway.handlers.credentials import Credentials
    from algodock_gateway.handlers.grpc_calls import GrpcCalls
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


def _edge(calls: GrpcCalls) -> APIRouter:
    """Return what the edge asks: may this gRPC call pass, and how is a service?"""
    router = APIRouter(prefix="/edge")

    @router.get("/authorise", status_code=204, response_class=Response)
    async def authorise(
        x_edge_service: Annotated[str, Header()],
        x_edge_method: Annotated[str, Header()],
        x_edge_authorization: Annotated[str | None, Header()] = None,
    ) -> None:
        try:
            await calls.admit(x_edge_service, x_edge_method, x_edge_authorization)
        except Unavailable:
            return  # the edge finds nobody to call and says so: it understands yes, 401 and 403, and nothing else

    @router.get("/health/{name}")
    async def health(name: str) -> dict[str, Any]:
        return {"status": "ok", "service": name, "instances": await calls.health(name)}

    return router


def make_internal(
    credentials: Credentials, secrets: CallbackSecrets, algorithms: Algorithms, services: Services, calls: GrpcCalls
) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/internal", dependencies=[Depends(require_service_token)], include_in_schema=False)
    router.include_router(_edge(calls))

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
