"""Processes known by a variable that only they were given: children inherit it, whatever group or session they make."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import psutil

from algodock_deployer.clients.families import family

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["BUILD", "INSTANCE", "end_carriers"]

INSTANCE = "ALGODOCK_TOKEN"
"""Carries the token of the instance that a process belongs to."""

BUILD = "ALGODOCK_BUILD"
"""Carries the path of the build log that a process writes to."""


def end_carriers(variable: str, value: str, *, spare: int = 0, below: bool = False) -> int:
    """End every process whose environment has ``variable`` at ``value``; twice, because one may have forked in between.

    Args:
        variable: its name.
        value: its value; when empty, nothing carries it.
        spare: a process that lives on with all that descends from it; 0 for none.
        below: ``value`` is a folder, and every path below it counts.

    Returns:
        How many processes that were.
    """
    if not value:
        return 0
    wanted = f"{variable}={value}{'/' if below else ''}".encode()
    ended: set[int] = set()
    for _ in range(2):
        spared = {process.pid for process in family(spare)} if spare else set()
        for pid in _pids():
            if pid not in spared and any(_is(entry, wanted, below=below) for entry in _environment(pid)):
                with contextlib.suppress(psutil.Error):
                    psutil.Process(pid).kill()
                    ended.add(pid)
    return len(ended)


def _is(entry: bytes, wanted: bytes, *, below: bool) -> bool:
    return entry.startswith(wanted) if below else entry == wanted


def _pids() -> Sequence[int]:
    own = os.getpid()
    return [pid for pid in psutil.pids() if pid != own]


def _environment(pid: int) -> list[bytes]:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123  # thousands of them
            return file.read().split(b"\0")
    except OSError:  # it ended, or belongs to somebody else
        return []
