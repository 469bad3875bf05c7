"""What holds a stranger's program to its limits, and finds all of its processes, with what this machine has."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Protocol

import psutil

from algodock_deployer.clients.carriers import INSTANCE, end_carriers
from algodock_deployer.clients.families import family
from algodock_deployer.domain.programs import Limits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from algodock_deployer.clients.cgroups import Cgroups
    from algodock_deployer.clients.sandbox import Sandbox
    from algodock_deployer.domain.programs import ControlGroup

__all__ = ["Confinement", "KernelConfinement", "Unconfined"]


class Confinement(Protocol):
    """Holds programs to their limits."""

    def groups(self, program: str, limits: Limits) -> tuple[ControlGroup, ...]:
        """Return the control groups that the program's start script makes and enters."""
        ...

    async def past_memory(self, program: str, pid: int, limit: int) -> str:
        """Return how a program went past ``limit`` bytes since it was last asked about it, or an empty string."""
        ...

    async def end_strays(self, program: str, token: str, *, spare: int = 0) -> int:
        """End what a program left behind, also what left its process group; return how many processes that were.

        ``token`` is the one that only this instance was given; what descends from process ``spare`` lives on.
        """
        ...

    def notes(self) -> Sequence[str]:
        """Return what cannot be had on this machine, and what is done instead."""
        ...


class Unconfined:
    """Holds nothing: for tests of what has nothing to do with limits."""

    def groups(self, program: str, limits: Limits) -> tuple[ControlGroup, ...]:  # noqa: ARG002  # the Protocol's
        """Return none."""
        return ()

    async def past_memory(self, program: str, pid: int, limit: int) -> str:  # noqa: ARG002  # the Protocol's
        """Nothing is ever too much."""
        return ""

    async def end_strays(self, program: str, token: str, *, spare: int = 0) -> int:  # noqa: ARG002  # the Protocol's
        """Leave everything."""
        return 0

    def notes(self) -> Sequence[str]:
        """Say so."""
        return ["memory and processes are not limited"]


class KernelConfinement:
    """``Confinement`` by control groups where there are some, else by watching resident memory and ``/proc``."""

    def __init__(self, cgroups: Cgroups, sandbox: Sandbox) -> None:
        """Begin with what the kernel has counted so far."""
        self._cgroups, self._sandbox = cgroups, sandbox
        self._ooms: dict[str, int] = {}

    def groups(self, program: str, limits: Limits) -> tuple[ControlGroup, ...]:
        """Return the groups to enter; the program's are new, so whatever they count later is news."""
        self._ooms[program] = 0
        return self._cgroups.groups(program, limits)

    async def past_memory(self, program: str, pid: int, limit: int) -> str:
        """Ask the kernel whether it ended something, or add up what the program's processes hold."""
        if self._cgroups.holds("memory"):
            ooms = self._cgroups.ooms(program)
            known = self._ooms.get(program, ooms)
            self._ooms[program] = ooms
            return f"its memory reached the limit of {_mib(limit)}" if ooms > known else ""
        used = await asyncio.to_thread(_resident, pid)
        return f"its memory went past the limit of {_mib(limit)}: {_mib(used)}" if used > limit else ""

    async def end_strays(self, program: str, token: str, *, spare: int = 0) -> int:
        """End all members of its groups and all processes that carry its token."""
        if spare and self._cgroups.holds("memory"):
            return 0  # its start script has ended them
        ended = 0
        if not spare:
            ended = await asyncio.to_thread(self._cgroups.clear, program)
            self._ooms.pop(program, None)
        return ended + await asyncio.to_thread(end_carriers, INSTANCE, token, spare=spare)

    def notes(self) -> Sequence[str]:
        """Say what the kernel does not hold here."""
        said = []
        if not self._cgroups.holds("memory"):
            said.append(f"memory is watched, not held by the kernel ({self._cgroups.obstacle})")
        if not self._cgroups.holds("pids"):
            reason = self._cgroups.obstacle or "there are no control groups for processes"
            said.append(
                f"processes are counted for each service's user, not for each instance ({reason})"
                if not self._sandbox.off
                else f"the number of processes is not limited ({reason}; {self._sandbox.off})"
            )
        if self._sandbox.off:
            said.append(f"programs could change their own code ({self._sandbox.off})")
        return said


def _mib(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"


def _resident(pid: int) -> int:
    """Return the resident bytes of a process and all below it."""
    used = 0
    for process in family(pid):
        with contextlib.suppress(psutil.Error):
            used += process.memory_info().rss
    return used
