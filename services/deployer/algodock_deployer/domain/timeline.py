"""A service's timeline: what happened to it, when, whether it went well, and by whom."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

__all__ = ["DONE", "Entry", "Kind", "done"]

Kind = Literal[
    "pushed", "superseded", "built", "probed", "switched", "failed",
    "started", "stopped", "restarted", "redeployed", "rolled back", "scaled", "removed",
    "degraded", "recovered", "port lost", "secret", "canary", "promoted",
]  # fmt: skip

DONE: dict[str, Kind] = {
    "start": "started",
    "stop": "stopped",
    "restart": "restarted",
    "redeploy": "redeployed",
    "rollback": "rolled back",
    "scale": "scaled",
    "remove": "removed",
    "promote": "promoted",
}
"""What a command is called once it has ended; ``ok`` says whether it could be done."""


def done(action: str) -> str:
    """Return what ``action`` is called once it has ended."""
    return DONE.get(action, action)


@dataclass(frozen=True)
class Entry:
    """One thing that happened; ``number`` grows, ``actor`` is a person's key, or the platform's part that did it."""

    number: int
    at: datetime
    kind: str
    ok: bool
    actor: str
    release_id: UUID | None
    commit: str
    detail: str
