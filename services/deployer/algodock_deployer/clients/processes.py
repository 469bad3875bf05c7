"""What runs an algorithm's programs: the Protocol that every driver meets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from algodock_common.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from algodock_deployer.domain.programs import ProgramSpec

__all__ = ["DriverUnavailable", "ProcessDriver", "Seen"]

ALIVE = frozenset({"STARTING", "RUNNING"})
ENDED = frozenset({"STOPPED", "EXITED", "FATAL", "BACKOFF", "UNKNOWN"})


class DriverUnavailable(Unavailable):
    """The process manager does not answer."""

    code = "process-manager-unavailable"


@dataclass(frozen=True)
class Seen:
    """A program as its manager sees it; ``state`` is one of supervisord's, ``pid`` is 0 when none runs."""

    program: str
    state: str
    pid: int = 0
    exit_code: int | None = None
    detail: str = ""

    @property
    def alive(self) -> bool:
        """Return whether a process of it runs."""
        return self.state in ALIVE

    @property
    def gave_up(self) -> bool:
        """Return whether its manager does not start it any more."""
        return self.state == "FATAL"


class ProcessDriver(Protocol):
    """Runs programs and keeps them running, whatever becomes of the deployer.

    Every method raises ``DriverUnavailable`` when the manager cannot be reached.
    """

    @property
    def holds(self) -> bool:
        """Return whether files or processes of programs of this driver are on this machine."""
        ...

    def may_have(self, program: str) -> bool:
        """Return False when the files here say that this driver has no such program: nobody is asked for that."""
        ...

    async def ensure(self) -> bool:
        """See to it that the manager itself runs; return whether it had to be started.

        What an earlier one left behind is ended first.
        """
        ...

    async def start(self, spec: ProgramSpec) -> None:
        """Write the program's files and start it; a program that runs already is left alone."""
        ...

    async def look(self, program: str) -> Seen | None:
        """Return how the program stands this moment, None when it is unknown."""
        ...

    async def look_all(self) -> Mapping[str, Seen]:
        """Return all programs."""
        ...

    async def pause(self, program: str) -> None:
        """End the program and keep it ended, ``STOPPED``, until ``resume``; one that is unknown or ended stays so."""
        ...

    async def resume(self, program: str) -> None:
        """Start a paused program again; one that runs, or is unknown, is left alone."""
        ...

    async def stop(self, program: str) -> None:
        """End the program (SIGTERM, then SIGKILL after 10 s, to its whole process group) and forget it."""
        ...

    async def close(self) -> None:
        """Let go of what this process holds; the programs go on."""
        ...
