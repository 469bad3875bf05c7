"""The registry as the deployer needs it: leases for new instances, and what became of old ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol
from uuid import UUID

from algodock_common.routing import RouteSnapshot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from algodock_common.events import Limits
    from algodock_common.web import InternalClient

__all__ = ["HttpRegistry", "Lease", "LeaseRequest", "Registry", "Route"]


@dataclass(frozen=True)
class LeaseRequest:
    """What an instance will be."""

    algorithm_id: UUID
    algorithm: str
    release_id: UUID
    commit: str
    node_id: str
    host: str
    index: int
    pinned_port: int | None
    limits: Limits
    health_path: str
    sends_heartbeats: bool
    protocol: Literal["http", "grpc"] = "http"


@dataclass(frozen=True)
class Lease:
    """An instance's place, and the token it shows when it reports."""

    instance_id: UUID
    host: str
    port: int
    base_url: str
    token: str


@dataclass(frozen=True)
class Route:
    """An instance as the registry has it now."""

    instance_id: UUID
    release_id: UUID | None
    state: str
    epoch: int


class Registry(Protocol):
    """Leases ports and knows instances."""

    async def lease(self, request: LeaseRequest) -> Lease:
        """Return a new instance in state ``starting``.

        Raises:
            Conflict: the pinned port is taken.
            Unavailable: the registry is away, or has no port left.
        """
        ...

    async def release(self, instance_id: UUID, *, blocked: bool = False) -> None:
        """Free an instance's lease; one that is gone already is no error.

        With ``blocked`` another program uses its port, which is leased to nobody for a while.
        """
        ...

    async def instances(self, algorithm: str, node_id: str) -> Sequence[Route]:
        """Return the instances of an algorithm on a node that are not gone."""
        ...

    async def routes(self) -> tuple[int, Sequence[Route]]:
        """Return the routing epoch and every instance that is not gone."""
        ...

    async def snapshot(self) -> RouteSnapshot:
        """Return the same as routers see it, with addresses, weights and limits."""
        ...


class HttpRegistry:
    """``Registry`` over its internal HTTP."""

    def __init__(self, client: InternalClient) -> None:
        """Call through ``client``."""
        self._client = client

    async def lease(self, request: LeaseRequest) -> Lease:
        """Ask for a new instance."""
        body = {
            "algorithm_id": str(request.algorithm_id),
            "algorithm": request.algorithm,
            "release_id": str(request.release_id),
            "commit": request.commit,
            "node_id": request.node_id,
            "host": request.host,
            "index": request.index,
            "pinned_port": request.pinned_port,
            "limits": request.limits.model_dump(mode="json"),
            "health_path": request.health_path,
            "sends_heartbeats": request.sends_heartbeats,
            "protocol": request.protocol,
        }
        made = await self._client.post("/internal/instances", json=body)
        return Lease(UUID(made["instance_id"]), made["host"], int(made["port"]), made["base_url"], made["token"])

    async def release(self, instance_id: UUID, *, blocked: bool = False) -> None:
        """Free an instance's lease."""
        await self._client.delete(f"/internal/instances/{instance_id}", params={"blocked": blocked})

    async def instances(self, algorithm: str, node_id: str) -> Sequence[Route]:
        """Return the instances of an algorithm on a node."""
        answer = await self._client.get("/internal/instances", params={"algorithm": algorithm, "node_id": node_id})
        return [_route(raw) for raw in answer["instances"] if raw["state"] != "gone"]

    async def routes(self) -> tuple[int, Sequence[Route]]:
        """Return the snapshot that routers fill themselves from."""
        answer = await self._client.get("/internal/routes")
        return int(answer["epoch"]), [_route(raw) for raw in answer["instances"]]

    async def snapshot(self) -> RouteSnapshot:
        """Return the snapshot as routers read it."""
        return RouteSnapshot.model_validate(await self._client.get("/internal/routes"))


def _route(raw: dict[str, Any]) -> Route:
    release = raw.get("release_id")
    return Route(UUID(raw["instance_id"]), UUID(release) if release else None, raw["state"], int(raw.get("epoch") or 0))
