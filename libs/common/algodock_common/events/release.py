"""Step 2, release: what became of a commit (deployer to registry and gateway)."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from algodock_common.events.envelope import EventData
from algodock_common.identifiers import AlgorithmName

__all__ = ["Limits", "ReleaseChanged", "ReleaseState", "ReleaseStep", "ServiceStatus"]

ReleaseState = Literal[
    "queued", "building", "starting", "checking", "canary", "live", "draining", "kept", "failed", "superseded"
]
ServiceStatus = Literal["building", "starting", "running", "degraded", "stopping", "stopped", "failed"]


class Limits(BaseModel):
    """What routers hold each service to, from its manifest."""

    timeout_s: float = Field(default=30, gt=0, description="seconds one call may take")
    concurrency: int | None = Field(default=None, gt=0, description="calls at once over all instances")
    queue: int = Field(default=100, ge=0, description="calls that may wait when all are taken")
    task_queue: int | None = Field(default=None, ge=0, description="tasks that may wait; none: the platform's default")
    max_body_bytes: int = Field(default=100 * 2**20, gt=0)


class ReleaseStep(BaseModel):
    """One step of a release with its times; ``ended_at`` is empty while it runs."""

    name: str
    started_at: datetime
    ended_at: datetime | None = None
    detail: str = ""


class ReleaseChanged(EventData):
    """A release as it stands now.

    ``instances`` are those that the service's traffic goes to after this event: with state
    ``live`` the registry makes them ready and drains every other instance of the algorithm;
    ``serving`` false (a stop or removal) drains all of them. With state ``kept``, ``failed`` or
    ``superseded`` the release's instances are gone and their leases free. A ``canary`` has its part of the calls by
    ``weights`` in the events of the release that is live.
    """

    topic: ClassVar[str] = "release.events"

    release_id: UUID
    algorithm_id: UUID
    algorithm: AlgorithmName
    state: ReleaseState
    service_status: ServiceStatus
    serving: bool = True
    step: str = ""
    steps: list[ReleaseStep] = Field(default_factory=list)
    reason: str = ""
    commit: str = ""
    config_version: int = 0
    instances: list[UUID] = Field(default_factory=list)
    schema_key: str | None = None
    samples_key: str | None = None
    limits: Limits = Field(default_factory=Limits)
    weights: dict[UUID, int] = Field(default_factory=dict, description="of listed instances; the others keep theirs")
    settled: bool = Field(default=True, description="false: in the middle of a change, and no command ends with it")

    def subject(self) -> str:
        """Return the algorithm's name."""
        return self.algorithm
