"""``/api/v1/services/secrets``: what only a service's programs may know; the gateway passes values on unread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter, Path
from fastapi.responses import Response

from algodock_gateway.routes.gatekeeper import Caller
from algodock_gateway.routes.relay import Relayed

if TYPE_CHECKING:
    from algodock_gateway.handlers.algorithms import Algorithms
    from algodock_gateway.handlers.identity import Stamps
    from algodock_gateway.routes.relay import Peer, Relay

__all__ = ["make_router"]

Name = Annotated[str, Path(pattern=r"^[A-Z][A-Z0-9_]{0,127}$", description="A variable's name, such as OPENAI_API_KEY")]

_VALUE: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["value"],
                    "properties": {"value": {"type": "string", "format": "password", "minLength": 1}},
                }
            }
        },
    }
}


def make_router(algorithms: Algorithms, stamps: Stamps, relay: Relay, deployer: Peer) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/services/secrets", tags=["services"])

    @router.get("/{name_or_id}", response_class=Response)
    async def names(name_or_id: str, caller: Caller) -> Response:
        """List a service's secrets by name, with when and by whom each was set; values are never shown."""
        algorithm = await algorithms.owned(name_or_id, caller)
        return Relayed(relay, deployer, f"/internal/secrets/{algorithm.id}")

    @router.put("/{name_or_id}/{name}", status_code=204, response_class=Response, openapi_extra=_VALUE)
    async def put(name_or_id: str, name: Name, caller: Caller) -> Response:
        """Set a secret: a variable of the service's programs, from their next start on (`restart`)."""
        algorithm = await algorithms.owned(name_or_id, caller)
        return Relayed(relay, deployer, f"/internal/secrets/{algorithm.id}/{name}", identity=stamps.of(caller))

    @router.delete("/{name_or_id}/{name}", status_code=204, response_class=Response)
    async def remove(name_or_id: str, name: Name, caller: Caller) -> Response:
        """Remove a secret; programs that run keep it until their next start."""
        algorithm = await algorithms.owned(name_or_id, caller)
        return Relayed(relay, deployer, f"/internal/secrets/{algorithm.id}/{name}", identity=stamps.of(caller))

    return router
