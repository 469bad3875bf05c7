"""Control groups: the kernel holds each instance to its memory and processes, and knows all that came from it.

A program enters its groups in its own start script, before it is anybody else; so they hold whatever manager
starts it, also when the deployer is away. Version 2 is used where there is one, else version 1.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from algodock_deployer.domain.programs import ControlGroup

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from algodock_deployer.domain.programs import Limits

__all__ = ["Cgroups"]

MOUNT = Path("/sys/fs/cgroup")
ENDING_S = 2.0


@dataclass(frozen=True)
class _Controller:
    """A folder below which groups can be made; ``files`` are the names of what can be limited there."""

    root: Path
    version: int
    holds: frozenset[str]


class Cgroups:
    """The groups of one platform, below ``algodock-<name>``; none where the kernel lets us make none."""

    def __init__(
        self, name: str, *, wanted: bool = True, mount: Path = MOUNT, own: Path = Path("/proc/self/cgroup")
    ) -> None:
        """Find out what can be had."""
        self._found: list[_Controller] = []
        self.obstacle = "" if wanted else "control groups are switched off"
        if not wanted:
            return
        try:
            self._found = list(_controllers(mount, own.read_text(), f"algodock-{name}"))
        except OSError as error:
            self.obstacle = f"no control group can be made: {error.filename or mount}: {error.strerror}"
        if not self._found and not self.obstacle:
            self.obstacle = "the machine has no control groups for memory"

    def holds(self, what: str) -> bool:
        """Return whether ``memory`` or ``pids`` is held by the kernel here."""
        return any(what in one.holds for one in self._found)

    def groups(self, program: str, limits: Limits) -> tuple[ControlGroup, ...]:
        """Return the groups that a program's start script makes and enters."""
        return tuple(ControlGroup(one.root / program, tuple(_settings(one, limits))) for one in self._found)

    def ooms(self, program: str) -> int:
        """Return how many of a program's processes the kernel ended because its memory was used up."""
        for one in self._found:
            if "memory" in one.holds:
                file = one.root / program / ("memory.events" if one.version == 2 else "memory.oom_control")  # noqa: PLR2004  # the kernel's
                with contextlib.suppress(OSError):
                    rows = dict(line.split(maxsplit=1) for line in file.read_text().splitlines())
                    return int(rows.get("oom_kill", 0))
        return 0

    def members(self, program: str) -> Sequence[int]:
        """Return the ids of all processes that a program has, wherever they went."""
        found: set[int] = set()
        for one in self._found:
            with contextlib.suppress(OSError):
                found |= {int(pid) for pid in (one.root / program / "cgroup.procs").read_text().split()}
        return sorted(found)

    def clear(self, program: str) -> int:
        """End whatever is left of a program, take its groups away, and return how many processes that were."""
        ended: set[int] = set()
        end = time.monotonic() + ENDING_S
        while (members := self.members(program)) and time.monotonic() < end:  # a fork bomb makes new ones meanwhile
            for pid in members:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            ended |= set(members)
            time.sleep(0.01)
        for one in self._found:
            with contextlib.suppress(OSError):
                (one.root / program).rmdir()
        return len(ended)


def _settings(one: _Controller, limits: Limits) -> Iterator[tuple[str, str]]:
    if "memory" in one.holds and limits.memory:
        if one.version == 1:
            yield "memory.limit_in_bytes", str(limits.memory)
            yield "memory.memsw.limit_in_bytes", str(limits.memory)
        else:
            yield "memory.max", str(limits.memory)
            yield "memory.swap.max", "0"
            yield "memory.oom.group", "1"
    if "pids" in one.holds and limits.processes:
        yield "pids.max", str(limits.processes)


def _controllers(mount: Path, own: str, name: str) -> Iterator[_Controller]:
    """Yield where groups can be made.

    Raises:
        OSError: there are control groups, and none may be made.
    """
    places = {}
    for line in own.splitlines():
        _, controllers, path = line.split(":", 2)
        places.update(dict.fromkeys(controllers.split(","), path.lstrip("/")))
    if (mount / "cgroup.controllers").exists():
        yield _version_2(_here(mount, places.get("", "")), name)
        return
    for what in ("memory", "pids"):
        if what in places and (mount / what / "cgroup.procs").exists():
            root = _here(mount / what, places[what]) / name
            root.mkdir(exist_ok=True)
            yield _Controller(root, 1, frozenset({what}))


def _here(mount: Path, path: str) -> Path:
    """Return our own group; in a container its path may be one of the host, and the mount is what we see of it."""
    return mount / path if (mount / path).is_dir() else mount


def _version_2(parent: Path, name: str) -> _Controller:
    wanted = frozenset((parent / "cgroup.controllers").read_text().split()) & {"memory", "pids"}
    if "memory" not in wanted:
        raise OSError(errno.ENOENT, "its controllers have no memory", str(parent))
    enabled = frozenset((parent / "cgroup.subtree_control").read_text().split())
    for what in sorted(wanted - enabled):
        (parent / "cgroup.subtree_control").write_text(f"+{what}")
    root = parent / name
    root.mkdir(exist_ok=True)
    (root / "cgroup.subtree_control").write_text(" ".join(f"+{what}" for what in sorted(wanted)))
    return _Controller(root, 2, wanted)
