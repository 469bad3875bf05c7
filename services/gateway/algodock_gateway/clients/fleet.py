"""The deployer's word on many services: how commands stand, and groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from algodock_gateway.clients.answers import list_in, object_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from algodock_common.web import InternalClient
    from algodock_gateway.clients.peers import JsonObject

__all__ = ["Fleet", "HttpFleet"]

_PEER = "deployer"


class Fleet(Protocol):
    """Commands and groups of the deployer."""

    async def standing(self, ids: Sequence[UUID]) -> dict[UUID, tuple[str, str]]:
        """Return the state (queued, running, done, failed) and the reason of those that have come there."""
        ...

    async def groups(self) -> list[JsonObject]:
        """Return every group with its services' names."""
        ...

    async def group(self, name: str) -> JsonObject:
        """Return one group.

        Raises:
            NotFound: there is none of this name.
        """
        ...

    async def make_group(self, name: str, services: Sequence[str], *, owner: str) -> JsonObject:
        """Make a group.

        Raises:
            Conflict: there is one of this name.
            NotFound: one of the services is not there.
        """
        ...

    async def change_group(self, name: str, change: JsonObject) -> JsonObject:
        """Change what ``change`` names: ``name``, ``services``, ``add``, ``remove``; errors as for both above."""
        ...

    async def drop_group(self, name: str) -> None:
        """Remove a group; its services stay.

        Raises:
            NotFound: there is none of this name.
        """
        ...


class HttpFleet:
    """``Fleet`` over the deployer's internal HTTP."""

    def __init__(self, client: InternalClient) -> None:
        """Keep the client; nothing is sent."""
        self._client = client

    async def standing(self, ids: Sequence[UUID]) -> dict[UUID, tuple[str, str]]:
        """Return how these operations stand."""
        body = {"ids": [str(one) for one in ids]}
        found = list_in(await self._client.post("/internal/operations/look", json=body), "operations", _PEER)
        return {UUID(one["id"]): (str(one["state"]), str(one["reason"])) for one in found}

    async def groups(self) -> list[JsonObject]:
        """Return every group."""
        return list_in(await self._client.get("/internal/groups"), "groups", _PEER)

    async def group(self, name: str) -> JsonObject:
        """Return one group."""
        return object_in(await self._client.get(f"/internal/groups/{name}"), _PEER)

    async def make_group(self, name: str, services: Sequence[str], *, owner: str) -> JsonObject:
        """Make a group."""
        body: dict[str, Any] = {"name": name, "services": list(services), "owner": owner}
        return object_in(await self._client.post("/internal/groups", json=body), _PEER)

    async def change_group(self, name: str, change: JsonObject) -> JsonObject:
        """Change a group."""
        return object_in(await self._client.put(f"/internal/groups/{name}", json=change), _PEER)

    async def drop_group(self, name: str) -> None:
        """Remove a group."""
        await self._client.delete(f"/internal/groups/{name}")
