"""Groups of services: a name under which people start, stop, restart and redeploy several at once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

__all__ = ["Group"]


@dataclass(frozen=True)
class Group:
    """A group and the names of its services; ``owner`` is who made it."""

    id: UUID
    name: str
    owner: str
    services: tuple[str, ...]
    created_at: datetime
