"""What the runner reads from the environment, beside the sections that all services read."""

from __future__ import annotations

from functools import cached_property
from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from algodock_common.settings import CommonSettings
from algodock_runner.domain.addresses import Destinations, parse_networks, parse_ports

__all__ = ["CallbackSettings", "Settings", "TaskSettings", "WorkerSettings"]

KIB = 1024
MIB = 1024 * KIB


class TaskSettings(BaseSettings):
    """``TASK_…``: what a task may be. Sizes in bytes, times in seconds."""

    model_config = SettingsConfigDict(env_prefix="TASK_", extra="ignore", frozen=True)

    max_input_bytes: int = Field(default=32 * MIB, ge=1)
    max_files_bytes: int = Field(default=1024 * MIB, ge=1, description="all files of a task, as they are sent")
    inline_input_bytes: int = Field(default=16 * KIB, ge=0, description="larger inputs go to the object store")
    behind_result_bytes: int = Field(
        default=64 * KIB, ge=0, le=MIB, description="results up to here are committed before their objects are written"
    )
    behind_backlog: int = Field(default=4000, ge=0, description="results of one worker whose objects are to be written")
    behind_backlog_bytes: int = Field(default=32 * MIB, ge=0)
    max_result_bytes: int = Field(default=100 * MIB, ge=1)
    longest_wait_s: float = Field(default=86_400, gt=0, description="without a deadline a waiting task expires then")
    result_link_s: float = Field(default=3600, gt=0, description="how long a link to a result works")
    keep_days: float = Field(default=0, ge=0, description="finished tasks are removed after so long; 0: never")
    sweep_every_s: float = Field(default=30, gt=0, description="between two looks for results that may go")
    orphan_age_s: float = Field(
        default=6 * 3600, gt=0, description="what no task names is removed from the object store when it is older"
    )


class WorkerSettings(BaseSettings):
    """``WORKER_…``: how one worker process works. Times in seconds."""

    model_config = SettingsConfigDict(env_prefix="WORKER_", extra="ignore", frozen=True)

    slots: int = Field(default=64, ge=1, description="tasks that run at once in this process")
    per_instance: int = Field(default=16, ge=1, description="of them on one instance, where no concurrency is declared")
    lease_s: float = Field(default=10, gt=0)
    grace_s: float = Field(default=6, ge=0, description="what still runs so long after SIGTERM is handed back")


class CallbackSettings(BaseSettings):
    """``CALLBACK_…``: how callbacks are delivered. Times in seconds."""

    model_config = SettingsConfigDict(env_prefix="CALLBACK_", extra="ignore", frozen=True)

    allow_private: bool = Field(default=False, description="let callbacks go to loopback and private addresses")
    allowed_networks: str = Field(default="", description="CIDRs that callbacks may go to although they are private")
    ports: str = Field(default="80,443,1024-65535", description="ports and ranges of ports that callbacks may go to")
    timeout_s: float = Field(default=15, gt=0, description="one delivery, from the look-up of the name to the answer")
    at_once: int = Field(default=64, ge=1, description="deliveries at once in this process")
    per_target: int = Field(default=16, ge=1, description="of them to one host and port, as long as it takes them")
    log_rows: int = Field(default=50, ge=1, description="deliveries that are remembered of one callback")

    @model_validator(mode="after")
    def _readable(self) -> Self:
        """Refuse at the start what cannot be read, not at the first callback."""
        self.destinations  # noqa: B018  # it raises
        return self

    @cached_property
    def destinations(self) -> Destinations:
        """Return what callbacks may reach."""
        return Destinations(
            allow_private=self.allow_private,
            networks=parse_networks(self.allowed_networks),
            ports=parse_ports(self.ports),
        )


class Settings(CommonSettings):
    """Every section that the runner's two processes read."""

    def __init__(self) -> None:
        """Read every section from the environment."""
        super().__init__()
        self.tasks = TaskSettings()
        self.worker = WorkerSettings()
        self.callbacks = CallbackSettings()
