"""A service as people see it: the deployer's word for what it runs, the routes' for what runs elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from collections.abc import Mapping

    from algodock_common.routing import Route

__all__ = ["InstanceView", "ServiceView", "elsewhere", "view_of"]


class InstanceView(BaseModel):
    """One instance's address."""

    model_config = ConfigDict(extra="ignore")

    instance_id: UUID
    host: str
    port: int


class ServiceView(BaseModel):
    """A service; ``port`` and ``host`` are its first instance's, empty while there is none."""

    id: UUID
    name: str
    status: str
    health: str
    message: str = ""
    port: int | None = None
    host: str | None = None
    api_url: str
    release_id: UUID | None = None
    commit: str = ""
    group: str | None = None
    instances: list[InstanceView] = Field(default_factory=list)
    scale_rule: dict[str, Any] | None = None


def view_of(service: Mapping[str, Any], gateway_url: str) -> ServiceView:
    """Return the view of a service that the deployer tells of."""
    instances = [InstanceView.model_validate(one) for one in service.get("instances") or ()]
    first = instances[0] if instances else None
    return ServiceView(
        id=service["id"],
        name=service["name"],
        status=service["status"],
        health=service.get("health") or "unknown",
        message=service.get("message") or "",
        port=first.port if first else None,
        host=first.host if first else None,
        api_url=api_url(gateway_url, service["name"]),
        release_id=service.get("release_id"),
        commit=service.get("commit") or "",
        group=service.get("group"),
        instances=instances,
        scale_rule=service.get("scale_rule"),
    )


def elsewhere(route: Route, gateway_url: str) -> ServiceView | None:
    """Return the view of a service that registered itself; None for one that the deployer runs."""
    instances = [one for one in route.instances.values() if one.release_id is None]
    if not instances:
        return None
    ready = [one for one in instances if one.callable]
    first = (ready or instances)[0]
    return ServiceView(
        id=route.algorithm_id,
        name=route.algorithm,
        status="running" if ready else "degraded",
        health="healthy" if ready else "unhealthy",
        message="registered by itself" if ready else "registered by itself, and not answering",
        port=first.port,
        host=first.host,
        api_url=api_url(gateway_url, route.algorithm),
        instances=[InstanceView(instance_id=one.id, host=one.host, port=one.port) for one in instances],
    )


def api_url(gateway_url: str, name: str) -> str:
    """Return where a service is called."""
    return f"{gateway_url.rstrip('/')}/ai/{name}"
