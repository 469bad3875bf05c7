"""An algorithm as the runner knows it: a name that tasks may ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID

__all__ = ["KnownAlgorithm"]


@dataclass(frozen=True, slots=True)
class KnownAlgorithm:
    """An algorithm as the gateway last told of it; ``state`` is that of ``algorithm.events``."""

    id: UUID
    name: str
    state: str
    owner: str

    @property
    def archived(self) -> bool:
        """Say whether it takes no more tasks."""
        return self.state == "archived"
