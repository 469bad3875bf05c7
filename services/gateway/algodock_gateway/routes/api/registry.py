"""``/api/v1/registry``: services that run elsewhere register here; where a name is served."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from algodock_common.identifiers import AlgorithmName
from algodock_gateway.domain.services import api_url
from algodock_gateway.routes.api.answers import Problem, RegisteredAnswer
from algodock_gateway.routes.gatekeeper import Caller
from algodock_gateway.routes.inlets import HEARTBEAT_PATH
from algodock_gateway.routes.relay import Relayed

if TYPE_CHECKING:
    from algodock_gateway.clients import Registry
    from algodock_gateway.handlers.algorithms import Algorithms
    from algodock_gateway.routes.relay import Peer, Relay

__all__ = ["make_router"]


class ExternalService(BaseModel):
    """A service that runs elsewhere."""

    model_config = ConfigDict(extra="ignore")

    name: str = Field(min_length=1, max_length=255)
    url: str = Field(min_length=1, max_length=2048, pattern=r"^https?://")


class Weight(BaseModel):
    """An instance's share, compared with the others'; `force` drains the last one, too."""

    model_config = ConfigDict(extra="forbid")

    weight: int = Field(ge=0, le=1000)
    force: bool = False


class WeighedAnswer(BaseModel):
    """The instance as routers are told of it."""

    model_config = ConfigDict(extra="ignore")

    instance_id: UUID
    algorithm: str
    host: str
    port: int
    state: str
    weight: int
    epoch: int


_LAST: Final[dict[int | str, dict[str, Any]]] = {
    409: {"model": Problem, "description": "It is the last one that takes calls"}
}


def make_router(algorithms: Algorithms, registry: Registry, relay: Relay, peer: Peer, *, url: str) -> APIRouter:
    """Return the routes; ``url`` is the gateway's own."""
    router = APIRouter(prefix="/registry", tags=["registry"])

    @router.post("/services", status_code=201)
    async def register(body: ExternalService, caller: Caller) -> RegisteredAnswer:
        """Serve a service that runs elsewhere like any other; it is probed, or sends heartbeats with its token."""
        algorithm, _ = await algorithms.ensure(body.name, owner=caller.name)
        made = await registry.register(algorithm, url=body.url)
        return RegisteredAnswer(
            service_id=algorithm.id,
            name=algorithm.name,
            instance_id=made["instance_id"],
            token=made["token"],
            heartbeat_url=url.rstrip("/") + HEARTBEAT_PATH,
            api_url=api_url(url, algorithm.name),
        )

    @router.get("/services", response_class=Response)
    async def services(_: Caller) -> Response:
        """List every service that is registered, with its instances: address, state, weight, what their beats said."""
        return Relayed(relay, peer, "/internal/registered")

    @router.put("/instances/{instance_id}/weight", responses=_LAST)
    async def weigh(instance_id: UUID, body: Weight, _: Caller) -> WeighedAnswer:
        """Give an instance more or less of its service's calls; 0 drains it: no new calls, open ones end."""
        return WeighedAnswer.model_validate(await registry.weigh(instance_id, body.weight, force=body.force))

    @router.get("/discover/{name}", response_class=Response)
    async def discover(name: AlgorithmName, _: Caller) -> Response:
        """Return every instance that takes calls and answers for a name now."""
        return Relayed(relay, peer, f"/discover/{name}")

    return router
