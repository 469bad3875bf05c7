"""``/api/v1/service-groups``: services that are commanded together."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from algodock_common.identifiers import AlgorithmName
from algodock_gateway.routes.api.answers import Problem
from algodock_gateway.routes.gatekeeper import Caller

if TYPE_CHECKING:
    from algodock_gateway.clients.fleet import Fleet

__all__ = ["make_router"]

Names = Annotated[list[AlgorithmName], Field(max_length=10_000)]
_CONFLICT: Final[dict[int | str, dict[str, Any]]] = {
    409: {"model": Problem, "description": "There is a group of this name"}
}


class NewGroup(BaseModel):
    """A group's name, and the services that it begins with."""

    model_config = ConfigDict(extra="forbid")

    name: AlgorithmName
    services: Names = Field(default_factory=list)


class GroupChange(BaseModel):
    """What changes; what is not said stays. `services` says who is in it from now on."""

    model_config = ConfigDict(extra="forbid")

    name: AlgorithmName | None = None
    services: Names | None = None
    add: Names = Field(default_factory=list)
    remove: Names = Field(default_factory=list)


class GroupAnswer(BaseModel):
    """A group, its services by name, and who made it."""

    model_config = ConfigDict(extra="ignore")

    id: UUID
    name: str
    owner: str
    services: list[str]
    created_at: datetime


class GroupsAnswer(BaseModel):
    """All groups, by name."""

    groups: list[GroupAnswer]


def make_router(fleet: Fleet) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/service-groups", tags=["services"])

    @router.get("")
    async def groups(_: Caller) -> GroupsAnswer:
        """List the groups of services."""
        return GroupsAnswer(groups=[GroupAnswer.model_validate(one) for one in await fleet.groups()])

    @router.post("", status_code=201, responses=_CONFLICT)
    async def make(body: NewGroup, caller: Caller) -> GroupAnswer:
        """Make a group of services; they leave the groups that they were in."""
        return GroupAnswer.model_validate(await fleet.make_group(body.name, body.services, owner=caller.name))

    @router.get("/{name}")
    async def group(name: AlgorithmName, _: Caller) -> GroupAnswer:
        """Show a group of services."""
        return GroupAnswer.model_validate(await fleet.group(name))

    @router.patch("/{name}", responses=_CONFLICT)
    async def change(name: AlgorithmName, body: GroupChange, _: Caller) -> GroupAnswer:
        """Change a group: its name, and who is in it."""
        return GroupAnswer.model_validate(await fleet.change_group(name, body.model_dump(exclude_unset=True)))

    @router.delete("/{name}", status_code=204, response_class=Response)
    async def drop(name: AlgorithmName, _: Caller) -> None:
        """Remove a group; its services stay as they are."""
        await fleet.drop_group(name)

    return router
