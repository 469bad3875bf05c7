"""What to do about instances whose release event may have been lost.

Careful on purpose: nothing is ended because somebody could not be asked, and what serves stops
serving only when the deployer names others that serve in its place, or says that the service stopped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from algodock_registry.domain.lifecycle import ENDED_RELEASES, Seen, Transition

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from uuid import UUID

    from algodock_common.events import InstanceState, ReleaseState, ServiceStatus

__all__ = ["Deployed", "plan_repair"]


@dataclass(frozen=True, slots=True)
class Deployed:
    """What the deployer says of an algorithm: its status, and the instances that serve.

    ``releases`` holds the state of each release that was asked for. None as a status or state: the
    deployer does not know it.
    """

    status: ServiceStatus | None
    instances: frozenset[UUID]
    releases: Mapping[UUID, ReleaseState | None]

    @property
    def serves(self) -> bool:
        """Say whether traffic is meant to reach the listed instances."""
        return self.status in {"running", "degraded"} and bool(self.instances)


def plan_repair(deployed: Deployed, present: Sequence[Seen], *, well: Collection[UUID]) -> Sequence[Transition]:
    """Return what brings the algorithm's instances to where the deployer's word has them.

    ``well`` are the starting instances that answered a probe just now: only those become ready.
    """
    takes_over = deployed.serves and any(
        one.id in deployed.instances and (one.state == "ready" or (one.state == "starting" and one.id in well))
        for one in present
    )
    rise: list[Transition] = []
    fall: list[Transition] = []
    for one in present:
        to = _fate(deployed, one, takes_over=takes_over, well=one.id in well)
        if to is not None:
            (rise if to == "ready" else fall).append(Transition(one.id, to))
    return [*rise, *fall]


def _fate(deployed: Deployed, one: Seen, *, takes_over: bool, well: bool) -> InstanceState | None:
    if one.release_id is None:  # it is not the deployer's to know
        return None
    if one.id in deployed.instances and deployed.serves:
        return "ready" if one.state == "starting" and well else None
    if one.id not in deployed.instances and _over(deployed, one):
        return "gone"
    if one.state in {"ready", "silent"} and (takes_over or deployed.status == "stopped"):
        return "draining"
    return None


def _over(deployed: Deployed, one: Seen) -> bool:
    """Say whether an instance that serves nobody has no one left to end it."""
    if one.state == "draining" and deployed.status == "stopped":
        return True
    release = one.release_id
    if release is None or release not in deployed.releases or one.state not in {"starting", "draining"}:
        return False
    state = deployed.releases[release]
    return state is None or state in ENDED_RELEASES
