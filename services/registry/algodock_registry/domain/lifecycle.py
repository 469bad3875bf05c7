"""What an instance may become, and what signs of life and releases make of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from uuid import UUID

    from algodock_common.events import InstanceState, ReleaseChanged

__all__ = [
    "ENDED_RELEASES",
    "MISSED_LIMIT",
    "Seen",
    "Transition",
    "after_failed_look",
    "after_life_sign",
    "may_become",
    "plan_release",
]

MISSED_LIMIT: Final = 3
"""Looks in a row that found neither a beat nor a healthy answer before an instance is silent."""

ENDED_RELEASES: Final = frozenset({"kept", "failed", "superseded"})
"""Release states after which its instances are gone."""

_NEXT: Final[dict[InstanceState, frozenset[InstanceState]]] = {
    "starting": frozenset({"ready", "gone"}),
    "ready": frozenset({"silent", "draining", "gone"}),
    "silent": frozenset({"ready", "draining", "gone"}),
    "draining": frozenset({"ready", "gone"}),  # back to ready: rolled back before it had drained
    "gone": frozenset(),
}


def may_become(state: InstanceState, to: InstanceState) -> bool:
    """Say whether an instance in ``state`` may go to ``to`` (staying is no change and not asked here)."""
    return to in _NEXT[state]


def after_life_sign(state: InstanceState) -> InstanceState:
    """Return the state after a beat or a healthy answer: the silent are ready again."""
    return "ready" if state == "silent" else state


def after_failed_look(state: InstanceState, missed: int) -> InstanceState:
    """Return the state after ``missed`` looks in a row that found no sign of life."""
    return "silent" if state == "ready" and missed >= MISSED_LIMIT else state


@dataclass(frozen=True, slots=True)
class Seen:
    """An instance of the algorithm as the plan needs it."""

    id: UUID
    release_id: UUID | None
    state: InstanceState
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Transition:
    """One instance goes to another state."""

    instance_id: UUID
    to: InstanceState


def plan_release(event: ReleaseChanged, at: datetime, instances: Iterable[Seen]) -> Sequence[Transition]:
    """Return what a release's change, said at ``at``, means for the algorithm's instances, in order.

    Those that begin to serve come first, so that no router sees a moment without any; nothing
    drains for a release of which no instance is here. A release's end, and that a service does not serve,
    do not touch instances made after it was said: a rollback or a wake may have started anew while the
    event was on its way. Applied a second time the plan is empty.
    """
    known = sorted(instances, key=lambda one: one.created_at)
    listed = frozenset(event.instances)
    takes_over = event.state == "live" and any(one.id in listed for one in known)
    rise: list[Transition] = []
    fall: list[Transition] = []
    for one in known:
        if event.state in ENDED_RELEASES and _ended_with(event, at, one):
            to: InstanceState = "gone"
        elif (not event.serving and one.created_at <= at) or (takes_over and one.id not in listed):
            to = "draining"
        elif takes_over and one.state != "silent":  # the silent come back by a sign of life
            to = "ready"
        else:
            continue
        if to != one.state and may_become(one.state, to):
            (rise if to == "ready" else fall).append(Transition(one.id, to))
    return [*rise, *fall]


def _ended_with(event: ReleaseChanged, at: datetime, one: Seen) -> bool:
    return one.release_id == event.release_id and one.id not in event.instances and one.created_at <= at
