"""What a program uses of the machine: its process and all that it started, looked at twice for the CPU's share."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from algodock_deployer.clients.families import family

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Usage", "measure"]

WINDOW_S = 0.25
"""Between the two looks: a share of the CPU is one of a time."""


@dataclass(frozen=True)
class Usage:
    """``cpu`` in cores, ``memory`` resident bytes; ``files`` is None where the platform may not see them."""

    cpu: float
    memory: int
    files: int | None
    processes: int
    threads: int
    started_at: float


async def measure(pids: Mapping[str, int]) -> dict[str, Usage]:
    """Return what each program uses, by its name; one that has ended is left out."""
    before, begun = await asyncio.to_thread(_times, pids), time.monotonic()
    await asyncio.sleep(WINDOW_S)  # it is the time that is measured
    after, took = await asyncio.to_thread(_times, pids), time.monotonic() - begun
    found = await asyncio.to_thread(lambda: {program: _look(pid) for program, pid in pids.items()})
    return {
        program: Usage(round(max(0.0, after.get(program, 0.0) - before.get(program, 0.0)) / took, 3), *seen)
        for program, seen in found.items()
        if seen is not None
    }


def _times(pids: Mapping[str, int]) -> dict[str, float]:
    """Return the CPU seconds that each program has used."""
    used: dict[str, float] = {}
    for program, pid in pids.items():
        for process in family(pid):
            try:
                times = process.cpu_times()
            except psutil.Error:
                continue  # it ended in between
            used[program] = used.get(program, 0.0) + times.user + times.system
    return used


def _look(pid: int) -> tuple[int, int | None, int, int, float] | None:
    memory, files, processes, threads, started = 0, 0, 0, 0, 0.0
    hidden = False
    for process in family(pid):
        try:
            memory += process.memory_info().rss
            threads += process.num_threads()
            started = started or process.create_time()
            processes += 1
            files += process.num_fds()
        except psutil.AccessDenied:
            hidden = True
        except psutil.Error:
            continue  # it ended in between
    return (memory, None if hidden else files, processes, threads, started) if processes else None
