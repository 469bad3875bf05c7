"""Service commands: what a person asks of a service (gateway to deployer)."""

from __future__ import annotations

from typing import Any, ClassVar, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from algodock_common.events.envelope import EventData
from algodock_common.identifiers import AlgorithmName

__all__ = ["MOST_INSTANCES", "ScaleRule", "ServiceCommand"]

MOST_INSTANCES: Final = 64
"""Instances that a service may have."""


class ScaleRule(BaseModel):
    """Between ``min`` and ``max`` instances, each with about ``target`` calls and tasks open or waiting.

    There are fewer only when the load of the last ``cooldown_s`` seconds needs no more, and nothing was
    scaled within them. With ``min`` 0 there is none at all after ``idle_s`` seconds without a call or a task, and
    the next one wakes it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    min: int = Field(default=1, ge=0, le=MOST_INSTANCES)
    max: int = Field(ge=1, le=MOST_INSTANCES)
    target: float = Field(default=4, gt=0, le=10_000)
    cooldown_s: float = Field(default=60, ge=1, le=86_400)
    idle_s: float = Field(default=300, ge=1, le=7 * 86_400)

    @model_validator(mode="after")
    def _ordered(self) -> ScaleRule:
        if self.min > self.max:
            msg = f"min ({self.min}) is more than max ({self.max})"
            raise ValueError(msg)
        return self


class ServiceCommand(EventData):
    """One command; ``operation_id`` makes it idempotent."""

    topic: ClassVar[str] = "service.commands"

    operation_id: UUID
    algorithm_id: UUID
    algorithm: AlgorithmName
    action: Literal["start", "stop", "restart", "redeploy", "remove", "rollback", "scale", "promote"]
    arguments: dict[str, Any] = Field(
        default_factory=dict, description="rollback: release_id; restart: instance_id; scale: instances, or a rule"
    )
    actor: str = ""

    def subject(self) -> str:
        """Return the operation; each command counts, none is older than another."""
        return str(self.operation_id)

    def key(self) -> str:
        """Return the algorithm, so that its commands keep their order."""
        return self.algorithm
