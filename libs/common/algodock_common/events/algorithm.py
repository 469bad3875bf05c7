"""Step 0, algorithm: an algorithm was made, changed or archived (gateway to all that keep its name)."""

from __future__ import annotations

from typing import ClassVar, Literal
from uuid import UUID

from algodock_common.events.envelope import EventData
from algodock_common.identifiers import AlgorithmName

__all__ = ["AlgorithmChanged"]


class AlgorithmChanged(EventData):
    """The algorithm as it stands now."""

    topic: ClassVar[str] = "algorithm.events"

    algorithm_id: UUID
    algorithm: AlgorithmName
    state: Literal["created", "changed", "archived"]
    owner: str = ""

    def subject(self) -> str:
        """Return the algorithm's name."""
        return self.algorithm
