"""An algorithm as the gateway keeps it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

from algodock_common.events import AlgorithmLimits

__all__ = ["Algorithm", "AlgorithmState"]

AlgorithmState = Literal["created", "changed", "archived"]


@dataclass(frozen=True, slots=True)
class Algorithm:
    """An algorithm's row; ``clone_url`` is empty while it has no repository, ``limits`` are its owner's."""

    id: UUID
    name: str
    state: AlgorithmState
    owner: str
    clone_url: str
    limits: AlgorithmLimits = field(default_factory=AlgorithmLimits)
