"""What the API's answers look like; more fields may come, none go."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from algodock_common.events import AlgorithmLimits
from algodock_gateway.domain.services import ServiceView

__all__ = [
    "PROBLEMS",
    "AlgorithmAnswer",
    "AlgorithmsAnswer",
    "CommandAnswer",
    "DeployAnswer",
    "Problem",
    "RegisteredAnswer",
    "ReleaseAnswer",
    "ReleasesAnswer",
    "RemovedAnswer",
    "ServicesAnswer",
    "StatusAnswer",
    "TaskAnswer",
    "TimelineAnswer",
    "TransitionAnswer",
    "UploadAnswer",
]


class Problem(BaseModel):
    """RFC 9457 problem details; more members may be there."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    instance: str | None = None
    trace_id: str | None = None


PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": Problem, "description": description}
    for status, description in ((401, "No valid API key"), (404, "There is no such thing"), (503, "Not available now"))
}


class AlgorithmAnswer(BaseModel):
    """An algorithm, and where its code is pushed to."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    name: str
    clone_url: str
    owner: str
    state: str
    limits: AlgorithmLimits


class AlgorithmsAnswer(BaseModel):
    """All algorithms, by name."""

    algorithms: list[AlgorithmAnswer]


class ServicesAnswer(BaseModel):
    """All services, by name."""

    success: bool = True
    services: list[ServiceView]


class StatusAnswer(BaseModel):
    """How a service is."""

    service_id: UUID
    name: str
    status: str
    health: str
    message: str
    api_url: str
    release_id: UUID | None
    commit: str


class CommandAnswer(BaseModel):
    """A command was accepted; ``status`` is what the service is about to do."""

    success: bool = True
    service_id: UUID
    status: str
    operation_id: UUID


class RemovedAnswer(BaseModel):
    """A removal was accepted."""

    success: bool = True
    service_id: UUID
    operation_id: UUID


class ReleaseAnswer(BaseModel):
    """A release as the deployer keeps it."""

    model_config = ConfigDict(extra="allow")

    id: UUID
    commit: str
    state: str
    reason: str = ""
    steps: list[dict[str, Any]] = Field(default_factory=list)


class ReleasesAnswer(BaseModel):
    """A service's releases, newest first."""

    releases: list[ReleaseAnswer]


class DeployAnswer(BaseModel):
    """A deployment that has begun, or how it ended (``wait``)."""

    success: bool
    service_id: UUID
    status: str
    api_url: str
    release_id: UUID | None
    error: str | None
    commit: str | None
    notes: list[str] = Field(default_factory=list)


class UploadAnswer(BaseModel):
    """One commit made of the uploaded files."""

    model_config = ConfigDict(extra="allow")

    success: bool
    commit: str | None
    files: list[str]
    service_id: UUID


class TaskAnswer(BaseModel):
    """A task as the runner keeps it."""

    model_config = ConfigDict(extra="allow")

    id: UUID
    state: str
    algorithm: str
    attempt: int
    result_url: str | None = None
    position: int | None = Field(default=None, description="among its algorithm's due tasks; 1 is the next")
    estimated_start_at: datetime | None = None
    progress: dict[str, Any] | None = Field(default=None, description="what its algorithm said last, while it runs")


class TransitionAnswer(BaseModel):
    """One step of a task's state.

    `index` says which step it is and never changes. `reason` says why a task went back into the
    queue: its attempt `failed`, was `not started`, `handed back` or `lost`.
    """

    model_config = ConfigDict(extra="allow")

    index: int
    state: str
    at: datetime
    attempt: int
    reason: str | None = None
    resumes_at: datetime | None = None
    worker_id: str | None = None
    instance_id: UUID | None = None
    release_id: UUID | None = None
    commit: str = ""
    config_version: int | None = None
    error: dict[str, Any] | None = None


class TimelineAnswer(BaseModel):
    """A task's steps, oldest first; `next` goes into `after` where there are more."""

    id: UUID
    state: str
    algorithm: str
    attempt: int
    transitions: list[TransitionAnswer]
    next: int | None


class RegisteredAnswer(BaseModel):
    """A service that runs elsewhere is registered; ``token`` goes with its heartbeats."""

    success: bool = True
    service_id: UUID
    name: str
    instance_id: UUID
    token: str
    heartbeat_url: str
    api_url: str
