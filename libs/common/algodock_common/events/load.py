"""What callers have open and waiting at a service, each second that there is something to say (routers to deployer)."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from pydantic import Field

from algodock_common.events.envelope import EventData
from algodock_common.identifiers import AlgorithmName

__all__ = ["ServiceLoad"]


class ServiceLoad(EventData):
    """One router's word on one service; one that says nothing for a few seconds has nothing there.

    ``backlog`` waits for whoever comes first (tasks in the database), so every worker says the same; what
    is ``queued`` waits in this router.
    """

    topic: ClassVar[str] = "service.load"

    router: str
    algorithm_id: UUID
    algorithm: AlgorithmName
    in_flight: int = Field(default=0, ge=0)
    queued: int = Field(default=0, ge=0)
    backlog: int = Field(default=0, ge=0)
    calls: int = Field(default=0, ge=0, description="that ended within the window")
    p95_ms: float | None = Field(default=None, ge=0, description="of those calls")
    window_s: float = Field(default=1, gt=0)

    def subject(self) -> str:
        """Return the router and the service."""
        return f"{self.router}/{self.algorithm}"

    def key(self) -> str:
        """Return the algorithm, so that one deployer hears all of its load."""
        return self.algorithm

    @property
    def busy(self) -> bool:
        """Say whether there is anything."""
        return bool(self.in_flight or self.queued or self.backlog or self.calls)
