"""Operations: what a person asked of a service, from accepted to its end, which the deployer's events tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

if TYPE_CHECKING:
    from algodock_common.events import ReleaseChanged

__all__ = ["Action", "Ended", "Operation", "OperationState", "ended_by", "shown_at_once"]

Action = Literal["start", "stop", "restart", "redeploy", "remove", "rollback", "scale", "promote"]
OperationState = Literal["accepted", "succeeded", "failed"]


@dataclass(frozen=True, slots=True)
class Operation:
    """One command of a person, and what became of it."""

    id: UUID
    algorithm_id: UUID
    action: Action
    arguments: dict[str, Any]
    actor: str
    state: OperationState = "accepted"
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """Which waiting operations of an algorithm an event ends, and how."""

    actions: frozenset[Action]
    state: OperationState
    reason: str = ""


_STOPPING: frozenset[Action] = frozenset({"stop", "remove"})
_STARTING: frozenset[Action] = frozenset({"start", "restart", "redeploy", "rollback", "scale", "promote"})


def ended_by(event: ReleaseChanged) -> Ended | None:
    """Return which operations the event ends; None when it ends none."""
    if not event.settled:
        return None
    if not event.serving and event.service_status == "stopped":
        return Ended(_STOPPING, "succeeded")
    if event.state == "live" and event.serving and event.service_status in {"running", "degraded"}:
        return Ended(_STARTING, "succeeded")
    if event.state == "canary":
        return Ended(frozenset({"redeploy"}), "succeeded")
    if event.state == "failed":
        return Ended(_STARTING, "failed", event.reason)
    return None


def shown_at_once(action: Action) -> str:
    """Return the status that the answer to a command shows: what the service is about to do."""
    if action in {"scale", "promote"}:
        return "running"
    return "stopping" if action in _STOPPING else "starting"
