"""An algorithm as the runner knows it: a name that tasks may ask for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

__all__ = ["KnownAlgorithm"]


@dataclass(frozen=True, slots=True)
class KnownAlgorithm:
    """An algorithm as the gateway last told of it: ``state`` as in ``algorithm.events``, ``limits`` its owner's."""

    id: UUID
    name: str
    state: str
    owner: str
    limits: Mapping[str, Any] = field(default_factory=dict)

    @property
    def queue(self) -> int | None:
        """Return how many tasks may wait for it, if its owner has said so."""
        said = self.limits.get("queue")
        return said if isinstance(said, int) else None

    @property
    def archived(self) -> bool:
        """Say whether it takes no more tasks."""
        return self.state == "archived"
