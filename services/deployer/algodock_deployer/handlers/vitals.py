"""How instances answered lately: who lives and no longer serves is ill."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from algodock_deployer.domain.plan import Plan
    from algodock_deployer.domain.releases import Instance

__all__ = ["Vitals"]

MISSES = 3


@dataclass
class _Look:
    """What the looks at one process have found so far; times by the loop's clock."""

    pid: int
    first: float
    well_once: bool = False
    misses: int = 0
    failing_since: float = 0.0
    ailment: str = ""


class Vitals:
    """How the processes of this node answered lately; forgotten with the deployer, and found out again."""

    def __init__(self) -> None:
        """Know nobody."""
        self._looks: dict[UUID, _Look] = {}
        self.plans: dict[UUID, Plan] = {}

    def note(self, one: Instance, *, well: bool, said: str, now: float, patience_s: float, start_s: float) -> None:
        """Take what a look at ``/health`` found.

        An instance is ill after three looks in a row over at least ``patience_s`` that failed: a server that is
        busy with one call answers again when the call's timeout is over. Before a process has been well once it
        has ``start_s`` to get there.
        """
        look = self._looks.get(one.id)
        if look is None or look.pid != one.pid:
            look = self._looks[one.id] = _Look(one.pid, now)
        if well:
            look.well_once, look.misses, look.ailment = True, 0, ""
            return
        if not look.well_once and now - look.first < start_s:
            return
        if not look.misses:
            look.failing_since = now
        look.misses += 1
        failing = now - look.failing_since
        if look.misses >= MISSES and failing >= patience_s:
            look.ailment = f"its process lived and did not answer as healthy for {failing:.0f} s ({said})"

    def ailment(self, instance_id: UUID, pid: int) -> str:
        """Return why the process must not go on, or an empty string."""
        look = self._looks.get(instance_id)
        return look.ailment if look is not None and look.pid == pid else ""

    def keep(self, instances: set[UUID], releases: set[UUID]) -> None:
        """Forget all others."""
        self._looks = {key: look for key, look in self._looks.items() if key in instances}
        self.plans = {key: plan for key, plan in self.plans.items() if key in releases}
