"""What others may know: services, releases, the output of builds and of programs."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from algodock_common.errors import NotFound
from algodock_deployer.domain.errors import ReleaseNotFound, ServiceNotFound
from algodock_deployer.repository import Instances, Operations, Releases, Services, Timeline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from algodock_deployer.domain.releases import Instance, Operation, Release, Service
    from algodock_deployer.domain.timeline import Entry
    from algodock_deployer.handlers.context import Context

__all__ = [
    "ReleaseView",
    "ServiceView",
    "build_log",
    "find_operations",
    "find_release",
    "find_service",
    "find_services",
    "releases_of",
    "timeline_of",
]


@dataclass(frozen=True)
class ServiceView:
    """A service with the release and the instances that serve."""

    service: Service
    release: Release | None
    instances: Sequence[Instance]


@dataclass(frozen=True)
class ReleaseView:
    """A release, and the instances that it has just now."""

    release: Release
    instances: Sequence[Instance]


async def find_services(context: Context, name: str | None = None) -> Sequence[ServiceView]:
    """Return all services, or the one of this name."""
    async with context.database.read() as session:
        services = await Services(session).all(name)
        instances = await Instances(session).all()
        live = await Releases(session).live()
    serving: dict[UUID, list[Instance]] = {}
    for instance in instances:
        if instance.phase == "serving":
            serving.setdefault(instance.service_id, []).append(instance)
    return [
        ServiceView(one, live.get(one.live_release_id) if one.live_release_id else None, serving.get(one.id, ()))
        for one in services
    ]


async def find_operations(context: Context, operation_ids: Sequence[UUID]) -> Sequence[Operation]:
    """Return how these operations stand; one that has not come here yet is left out."""
    async with context.database.read() as session:
        return await Operations(session).of(operation_ids)


async def find_service(context: Context, name: str) -> ServiceView:
    """Return one service by name or id.

    Raises:
        ServiceNotFound: there is none.
    """
    async with context.database.read() as session:
        service = await Services(session).find(name)
        if service is None or service.desired == "removed":
            raise ServiceNotFound(f"there is no service {name!r}")
        instances = await Instances(session).of_service(service.id)
        release = await Releases(session).get(service.live_release_id) if service.live_release_id else None
    return _view(service, release, instances)


def _view(service: Service, release: Release | None, instances: Sequence[Instance]) -> ServiceView:
    serving = [one for one in instances if one.service_id == service.id and one.phase == "serving"]
    return ServiceView(service, release, serving)


async def releases_of(context: Context, name: str, *, commit: str | None, limit: int) -> Sequence[Release]:
    """Return a service's releases, newest first.

    Raises:
        ServiceNotFound: there is no such service.
    """
    async with context.database.read() as session:
        service = await Services(session).find(name)
        if service is None:
            raise ServiceNotFound(f"there is no service {name!r}")
        return await Releases(session).of_service(service.id, commit=commit, limit=limit)


async def timeline_of(
    context: Context, name: str, *, limit: int, before: int | None
) -> tuple[Service, Sequence[Entry], bool]:
    """Return a service, what happened to it, newest first, and whether there is more.

    Raises:
        ServiceNotFound: there is no such service; one that was removed is still there for its timeline.
    """
    async with context.database.read() as session:
        service = await Services(session).find(name)
        if service is None:
            raise ServiceNotFound(f"there is no service {name!r}")
        entries = await Timeline(session).of(service.id, limit=limit + 1, before=before)
    return service, entries[:limit], len(entries) > limit


async def find_release(context: Context, release_id: UUID) -> ReleaseView:
    """Return one release.

    Raises:
        ReleaseNotFound: there is none.
    """
    async with context.database.read() as session:
        release = await Releases(session).get(release_id)
        if release is None:
            raise ReleaseNotFound(f"there is no release {release_id}")
        instances = await Instances(session).of_service(release.service_id)
    return ReleaseView(release, [one for one in instances if one.release_id == release.id])


async def build_log(context: Context, release_id: UUID) -> bytes:
    """Return a build's output so far.

    Raises:
        ReleaseNotFound: there is no such release.
        NotFound: its build has not begun.
    """
    view = await find_release(context, release_id)
    path = context.folders.build_log(view.release.id)
    if path.exists():
        return await asyncio.to_thread(path.read_bytes)
    async with context.database.read() as session:
        build = await Releases(session).build(release_id)
    if build is None or not build[1]:
        raise NotFound(f"the build of release {release_id} has written nothing yet")
    return await context.store.get(build[1])
