"""Services, releases, instances and operations: their states and which moves between them are allowed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from algodock_common.events import Limits, ReleaseChanged, ReleaseState, ReleaseStep, ServiceStatus

__all__ = [
    "ENDED_RELEASES",
    "IN_PROGRESS",
    "MOVES",
    "STARTABLE",
    "Action",
    "Health",
    "Instance",
    "InstancePhase",
    "Operation",
    "Release",
    "Service",
    "assess",
    "changed",
    "may_move",
]

Health = Literal["healthy", "unhealthy", "unknown"]
InstancePhase = Literal["starting", "serving", "draining"]
Action = Literal["start", "stop", "restart", "redeploy", "remove", "rollback", "scale", "promote"]
Hold = Literal["", "delay", "stopped"]

IN_PROGRESS: frozenset[ReleaseState] = frozenset({"building", "starting", "checking"})
"""A release that somebody works on; after a crash it is begun anew, each step finding what is done."""

ENDED_RELEASES: frozenset[ReleaseState] = frozenset({"canary", "live", "draining", "kept", "failed", "superseded"})
"""A release that has come to an end of its way: nobody works on it."""

STARTABLE: frozenset[ReleaseState] = frozenset({"live", "draining", "kept"})
"""A release that was live once and can be again."""

MOVES: dict[ReleaseState, frozenset[ReleaseState]] = {
    "queued": frozenset({"building", "superseded", "failed"}),
    "building": frozenset({"building", "starting", "failed", "superseded"}),
    "starting": frozenset({"building", "starting", "checking", "failed", "superseded"}),
    "checking": frozenset({"building", "starting", "checking", "canary", "live", "failed", "superseded"}),
    "canary": frozenset({"canary", "live", "failed", "superseded"}),
    "live": frozenset({"live", "draining"}),
    "draining": frozenset({"draining", "kept", "live"}),
    "kept": frozenset({"kept", "live"}),
    "failed": frozenset(),
    "superseded": frozenset(),
}
"""Of several instances each is started and checked; what is started again (restart, rollback) stays what it is."""


def assess(instances: Sequence[Instance]) -> tuple[ServiceStatus, Health, str]:
    """Return what a service that is meant to run shows, from its serving instances: status, health, and why."""
    serving = [one for one in instances if one.phase == "serving"]
    held = [one for one in serving if one.hold]
    down = [*held, *(o for o in serving if not o.hold and o.seen in {"FATAL", "EXITED", "STOPPED", "UNKNOWN", "gone"})]
    silent = [one for one in serving if one.reported == "silent" and one not in down]
    if down:
        by_hand = ", stopped by supervisorctl" if all(one.seen == "STOPPED" and not one.hold for one in down) else ""
        why = f": {_held(held)}" if held else ""
        return "degraded", "unhealthy", f"{len(down)} of {len(serving)} instances do not run{by_hand}{why}"
    if silent:
        return "degraded", "unhealthy", f"{len(silent)} of {len(serving)} instances do not answer"
    again = next((f"started again: {one.why}" for one in serving if one.why), "")
    return "running", "healthy", again


def _held(held: Sequence[Instance]) -> str:
    """Say of the instance that is worst off why it waits."""
    one = max(held, key=lambda one: (one.hold == "stopped", one.exits))
    if one.hold == "stopped":
        return f"crash loop, {one.exits} times in a row {one.why}; stopped until a restart or another release"
    often = f" ({one.exits} times in a row)" if one.exits > 1 else ""
    return f"{one.why}{often}; it is started again"


def may_move(old: ReleaseState, new: ReleaseState) -> bool:
    """Return whether a release may go from ``old`` to ``new``."""
    return new in MOVES[old]


@dataclass(frozen=True)
class Service:
    """An algorithm's service: ``desired`` is what was asked for, ``status`` what was last seen.

    ``number`` is small and its own for ever (its uid is made from it); ``live_release_id`` is the
    release that serves, or that a start brings back; ``instances`` how many were asked for.
    ``quiet_s`` ago it was last busy (noted only with a rule), ``settled_s`` ago last scaled.
    """

    id: UUID
    name: str
    number: int
    node_id: str | None
    desired: Literal["running", "stopped", "removed"]
    status: ServiceStatus
    health: Health
    message: str
    live_release_id: UUID | None
    group: str | None
    created_at: datetime
    updated_at: datetime
    instances: int | None = None
    scale_rule: dict[str, Any] | None = None
    quiet_s: float = 0
    settled_s: float = 0

    @property
    def serving(self) -> bool:
        """Return whether traffic goes to it."""
        return self.desired == "running" and self.live_release_id is not None

    @property
    def asleep(self) -> bool:
        """Return whether a rule took its last instance: the next call or task brings one back."""
        return self.serving and self.instances == 0


@dataclass(frozen=True)
class Release:
    """One commit of a service on its way, or where it ended."""

    id: UUID
    service_id: UUID
    algorithm: str
    commit: str
    ref: str
    message: str
    pusher: str
    bundle_key: str | None
    problem: str | None
    state: ReleaseState
    reason: str
    steps: list[dict[str, Any]] = field(default_factory=list)
    plan: dict[str, Any] | None = None
    environment_key: str | None = None
    schema_key: str | None = None
    samples_key: str | None = None
    config_version: int = 0
    traceparent: str | None = None
    created_at: datetime | None = None
    live_at: datetime | None = None

    @property
    def step(self) -> str:
        """Return the name of the last step that began."""
        return str(self.steps[-1]["name"]) if self.steps else ""


@dataclass(frozen=True)
class Instance:
    """A process of a release that the deployer answers for.

    ``epoch`` is the routing epoch at which it began to drain; ``seen`` is its process's state,
    ``reported`` the registry's word for it. ``pid`` runs since ``up_since`` after ``exits`` exits in a row, the last
    one for the reason ``why``; while it is held, it waits until ``hold_until``, or is not started again at all.
    """

    id: UUID
    service_id: UUID
    release_id: UUID
    algorithm: str
    index: int
    node_id: str
    host: str
    port: int
    base_url: str
    program: str
    phase: InstancePhase
    epoch: int | None = None
    seen: str = ""
    reported: str = ""
    pid: int = 0
    exits: int = 0
    up_since: datetime | None = None
    hold: Hold = ""
    hold_until: datetime | None = None
    why: str = ""


@dataclass(frozen=True)
class Operation:
    """A command of a person, kept so that it is done exactly once whatever crashes."""

    id: UUID
    service_id: UUID
    action: Action
    arguments: dict[str, Any]
    actor: str
    state: Literal["queued", "running", "done", "failed"]
    reason: str
    traceparent: str | None


def changed(
    service: Service,
    release: Release,
    *,
    state: ReleaseState | None = None,
    serving: bool = True,
    instances: list[UUID] | None = None,
    limits: Limits | None = None,
    settled: bool = True,
    weights: dict[UUID, int] | None = None,
) -> ReleaseChanged:
    """Return the event that tells of ``release`` as it stands, or as it is about to stand.

    The live release of a service that sleeps does not serve, whatever else is told of it.
    """
    asleep = service.asleep and (state or release.state) == "live" and not instances
    return ReleaseChanged(
        release_id=release.id,
        algorithm_id=service.id,
        algorithm=service.name,
        state=state or release.state,
        service_status=service.status,
        serving=serving and not asleep,
        step=release.step,
        steps=[ReleaseStep.model_validate(step) for step in release.steps],
        reason=release.reason,
        commit=release.commit,
        config_version=release.config_version,
        instances=instances or [],
        schema_key=release.schema_key,
        samples_key=release.samples_key,
        limits=limits or Limits(),
        settled=settled,
        weights=weights or {},
    )
