"""What the deployer holds to be true; read only to find what a lost event would have told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from algodock_common.errors import NotFound
from algodock_common.events import ReleaseState, ServiceStatus

if TYPE_CHECKING:
    from algodock_common.web import InternalClient

__all__ = ["DeployedInstance", "DeployedService", "DeployerView", "FakeDeployer", "HttpDeployer"]


class DeployedInstance(BaseModel):
    """An instance that the deployer counts to a service."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    instance_id: UUID


class DeployedService(BaseModel):
    """A service as the deployer sees it; ``release_id`` and ``instances`` are those that serve."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    status: ServiceStatus
    release_id: UUID | None = None
    instances: list[DeployedInstance] = Field(default_factory=list)


class DeployerView(Protocol):
    """The deployer's services and releases."""

    async def service(self, name: str) -> DeployedService | None:
        """Return a service, None when the deployer does not know it.

        Raises:
            AlgoDockError: the deployer does not answer.
        """
        ...

    async def release_state(self, release_id: UUID) -> ReleaseState | None:
        """Return a release's state, None when the deployer does not know it.

        Raises:
            AlgoDockError: the deployer does not answer.
        """
        ...


class HttpDeployer:
    """Over the deployer's internal HTTP."""

    def __init__(self, http: InternalClient) -> None:
        """Speak through ``http``."""
        self._http = http

    async def service(self, name: str) -> DeployedService | None:
        """Ask ``GET /internal/services/{name}``."""
        answer = await self._get(f"/internal/services/{name}")
        return None if answer is None else DeployedService.model_validate(answer)

    async def release_state(self, release_id: UUID) -> ReleaseState | None:
        """Ask ``GET /internal/releases/{id}``."""
        answer = await self._get(f"/internal/releases/{release_id}")
        state: ReleaseState | None = None if answer is None else answer["state"]
        return state

    async def _get(self, path: str) -> Any:  # JSON, which the callers read into their models
        try:
            return await self._http.get(path)
        except NotFound:
            return None


class FakeDeployer:
    """A deployer that knows what it is told."""

    def __init__(self) -> None:
        """Begin with nothing deployed."""
        self.services: dict[str, DeployedService] = {}
        self.releases: dict[UUID, ReleaseState] = {}

    async def service(self, name: str) -> DeployedService | None:
        """Answer from ``services``."""
        return self.services.get(name)

    async def release_state(self, release_id: UUID) -> ReleaseState | None:
        """Answer from ``releases``."""
        return self.releases.get(release_id)
