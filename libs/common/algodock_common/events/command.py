"""Service commands: what a person asks of a service (gateway to deployer)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal
from uuid import UUID

from pydantic import Field

from algodock_common.events.envelope import EventData
from algodock_common.identifiers import AlgorithmName

__all__ = ["ServiceCommand"]


class ServiceCommand(EventData):
    """One command; ``operation_id`` makes it idempotent."""

    topic: ClassVar[str] = "service.commands"

    operation_id: UUID
    algorithm_id: UUID
    algorithm: AlgorithmName
    action: Literal["start", "stop", "restart", "redeploy", "remove", "rollback", "scale"]
    arguments: dict[str, Any] = Field(
        default_factory=dict, description="rollback: release_id; restart: instance_id; scale: instances"
    )
    actor: str = ""

    def subject(self) -> str:
        """Return the operation; each command counts, none is older than another."""
        return str(self.operation_id)

    def key(self) -> str:
        """Return the algorithm, so that its commands keep their order."""
        return self.algorithm
