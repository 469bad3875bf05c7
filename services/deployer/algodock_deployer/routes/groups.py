"""HTTP in: groups of services."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from algodock_common.identifiers import AlgorithmName
from algodock_deployer import handlers

__all__ = ["make_router"]

if TYPE_CHECKING:
    from algodock_deployer.domain.groups import Group

Names = Annotated[list[str], Field(max_length=10_000)]


class NewGroupBody(BaseModel):
    """A group that a person makes; its name has the form of an algorithm's."""

    model_config = ConfigDict(extra="forbid")

    name: AlgorithmName
    services: Names = Field(default_factory=list)
    owner: str = ""


class ChangeBody(BaseModel):
    """What changes of a group; what is not said stays."""

    model_config = ConfigDict(extra="forbid")

    name: AlgorithmName | None = None
    services: Names | None = None
    add: Names = Field(default_factory=list)
    remove: Names = Field(default_factory=list)


class GroupAnswer(BaseModel):
    """A group and its services."""

    id: UUID
    name: str
    owner: str
    services: list[str]
    created_at: datetime


class GroupsAnswer(BaseModel):
    """Groups by name."""

    groups: list[GroupAnswer]


def _answer(group: Group) -> GroupAnswer:
    return GroupAnswer(
        id=group.id, name=group.name, owner=group.owner, services=list(group.services), created_at=group.created_at
    )


def make_router(context: handlers.Context) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/groups")

    @router.get("")
    async def groups() -> GroupsAnswer:
        return GroupsAnswer(groups=[_answer(one) for one in await handlers.all_groups(context)])

    @router.post("", status_code=201)
    async def make(body: NewGroupBody) -> GroupAnswer:
        return _answer(await handlers.make_group(context, body.name, body.services, owner=body.owner))

    @router.get("/{name}")
    async def group(name: str) -> GroupAnswer:
        return _answer(await handlers.find_group(context, name))

    @router.put("/{name}")
    async def change(name: str, body: ChangeBody) -> GroupAnswer:
        changed = await handlers.change_group(
            context, name, rename=body.name, add=body.add, remove=body.remove, services=body.services
        )
        return _answer(changed)

    @router.delete("/{name}", status_code=204, response_class=Response)
    async def drop(name: str) -> None:
        await handlers.drop_group(context, name)

    return router
