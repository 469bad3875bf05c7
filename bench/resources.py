"""What the platform costs while nobody asks anything of it: memory (PSS) and cores."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stage import Program

__all__ = ["Memory", "idle_cores", "memory"]


@dataclass(frozen=True, slots=True)
class Memory:
    """Megabytes of proportional set size; ``each`` by program, with its children."""

    services_mb: float
    servers_mb: float
    each: dict[str, float]


def _family(program: Program) -> list[psutil.Process]:
    try:
        process = psutil.Process(program.pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def memory(programs: Iterable[Program]) -> Memory:
    """Add up the PSS of the services and workers, and that of the servers."""
    each: dict[str, float] = {}
    totals = {True: 0.0, False: 0.0}
    for program in programs:
        size = sum(_pss(process) for process in _family(program)) / 2**20
        each[program.name] = round(size, 1)
        totals[program.is_server] += size
    return Memory(totals[False], totals[True], each)


def _pss(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.NoSuchProcess:
        return 0


def idle_cores(programs: Iterable[Program], seconds: float) -> dict[str, float]:
    """Return the cores that each program and its children used over ``seconds``."""
    watched = {program.name: _family(program) for program in programs}
    before = {name: _cpu_s(family) for name, family in watched.items()}
    begun = time.perf_counter()
    time.sleep(seconds)
    took = time.perf_counter() - begun
    return {name: round((_cpu_s(family) - before[name]) / took, 4) for name, family in watched.items()}


def _cpu_s(family: Iterable[psutil.Process]) -> float:
    total = 0.0
    for process in family:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total
