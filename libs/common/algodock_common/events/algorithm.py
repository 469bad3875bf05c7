"""Step 0, algorithm: an algorithm was made, changed or archived (gateway to all that keep its name)."""

from __future__ import annotations

from typing import ClassVar, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from algodock_common.events.envelope import EventData
from algodock_common.identifiers import AlgorithmName

__all__ = ["AlgorithmChanged", "AlgorithmLimits"]


class AlgorithmLimits(BaseModel):
    """What an algorithm's owner limits its tasks to; what is None has no limit of the owner's."""

    queue: int | None = Field(default=None, ge=0, le=10_000_000, description="tasks that may wait")
    result_ttl_s: float | None = Field(default=None, gt=0, le=3.2e9, description="seconds that a result is kept")
    result_quota_bytes: int | None = Field(
        default=None, ge=0, lt=2**63, description="bytes of results that are kept, the newest"
    )


class AlgorithmChanged(EventData):
    """The algorithm as it stands now."""

    topic: ClassVar[str] = "algorithm.events"

    algorithm_id: UUID
    algorithm: AlgorithmName
    state: Literal["created", "changed", "archived"]
    owner: str = ""
    limits: AlgorithmLimits = Field(default_factory=AlgorithmLimits)

    def subject(self) -> str:
        """Return the algorithm's name."""
        return self.algorithm
