"""HTTP in, for the platform's services: what is deployed, and how it got there."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from algodock_common.events import ReleaseState, ReleaseStep, ServiceStatus
from algodock_deployer import handlers

if TYPE_CHECKING:
    from algodock_deployer.domain.releases import Release

__all__ = ["make_router"]


class InstanceAnswer(BaseModel):
    """Where an instance listens, and how its process was last seen."""

    instance_id: UUID
    host: str
    port: int
    base_url: str
    program: str
    state: str


class ServiceAnswer(BaseModel):
    """A service: what it shows, and the release and the instances that serve."""

    id: UUID
    name: str
    status: ServiceStatus
    health: str
    message: str
    desired: str
    group: str | None
    scale_rule: dict[str, Any] | None
    node_id: str | None
    release_id: UUID | None
    commit: str
    instances: list[InstanceAnswer]
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, view: handlers.ServiceView) -> ServiceAnswer:
        """Return the answer for a service."""
        service, release = view.service, view.release
        return cls(
            id=service.id,
            name=service.name,
            status=service.status,
            health=service.health,
            message=service.message,
            desired=service.desired,
            group=service.group,
            node_id=service.node_id,
            release_id=release.id if release else None,
            commit=release.commit if release else "",
            scale_rule=service.scale_rule,
            instances=[_instance(one) for one in view.instances],
            created_at=service.created_at,
            updated_at=service.updated_at,
        )


class ServicesAnswer(BaseModel):
    """Services by name."""

    services: list[ServiceAnswer]


class ReleaseAnswer(BaseModel):
    """A release on its way, or where it ended and why."""

    id: UUID
    algorithm: str
    commit: str
    ref: str
    message: str
    pusher: str
    state: ReleaseState
    step: str
    reason: str
    steps: list[ReleaseStep]
    environment_key: str | None
    schema_key: str | None
    samples_key: str | None
    created_at: datetime | None
    live_at: datetime | None
    instances: list[InstanceAnswer] = Field(default_factory=list)


class ReleasesAnswer(BaseModel):
    """Releases, newest first."""

    releases: list[ReleaseAnswer]


def _instance(one: Any) -> InstanceAnswer:
    return InstanceAnswer(
        instance_id=one.id, host=one.host, port=one.port, base_url=one.base_url, program=one.program, state=one.seen
    )


def _release(one: Release, instances: list[InstanceAnswer] | None = None) -> ReleaseAnswer:
    values = {name: getattr(one, name) for name in ReleaseAnswer.model_fields if name != "instances"}
    return ReleaseAnswer(**values, instances=instances or [])


def make_router(context: handlers.Context) -> APIRouter:
    """Return the routes."""
    router = APIRouter()

    @router.get("/services")
    async def services(name: str | None = None) -> ServicesAnswer:
        return ServicesAnswer(services=[ServiceAnswer.of(one) for one in await handlers.find_services(context, name)])

    @router.get("/services/{name}")
    async def service(name: str) -> ServiceAnswer:
        return ServiceAnswer.of(await handlers.find_service(context, name))

    @router.get("/services/{name}/releases")
    async def releases(
        name: str,
        commit: Annotated[str | None, Query(pattern=r"^[0-9a-f]{4,64}$")] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
    ) -> ReleasesAnswer:
        found = await handlers.releases_of(context, name, commit=commit, limit=limit)
        return ReleasesAnswer(releases=[_release(one) for one in found])

    @router.get("/releases/{release_id}")
    async def release(release_id: UUID) -> ReleaseAnswer:
        view = await handlers.find_release(context, release_id)
        return _release(view.release, [_instance(one) for one in view.instances])

    return router
