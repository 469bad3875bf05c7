"""Keeping alive: what the exits of an instance's process mean, and when it may run again.

The process manager starts an ended program at once, for ever. So the deployer counts exits in a row and makes the
pauses between them grow; past ``CRASH_LOOP`` of them the program is not started again before somebody asks for it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Literal

from algodock_deployer.domain.releases import Instance

__all__ = ["CRASH_LOOP", "STABLE", "Act", "after_look", "delay_after"]

Act = Literal["", "pause", "resume"]
"""What the process manager is told: end the program and keep it ended, or start it again."""

CRASH_LOOP = 6
"""Exits in a row after which nobody believes any more that the next start will be better."""

GAVE_UP = 4
"""Exits that stand behind the manager's own giving up, a start and three more tries; some may have been counted."""

STABLE = timedelta(seconds=60)
"""A process that lived this long has ended the row."""

_ALIVE = frozenset({"STARTING", "RUNNING"})


def delay_after(exits: int) -> timedelta:
    """Return how long a program waits after so many exits in a row: not at all, then 2, 4, 8, 16 s."""
    return timedelta(seconds=0 if exits <= 1 else 2 ** (exits - 1))


def after_look(
    one: Instance,
    state: str,
    pid: int,
    now: datetime,
    *,
    ailment: str = "",
    ended: str = "it exited",
    orphaned: bool = False,
) -> tuple[Instance, Act]:
    """Return what is known of an instance after a look at its process, and what is to be done.

    ``state`` is the manager's word; ``ailment`` says why a living process must not go on, if it must not, and
    ``ended`` how the last one came to its end. ``orphaned`` says that the process known so far was alive until just
    now, under no manager: what the manager has tried meanwhile could not have its port, and counts for nothing.
    """
    if orphaned:
        return replace(one, pid=0, up_since=None), "resume" if state == "FATAL" else ""
    alive = state in _ALIVE and pid > 0
    if one.hold:
        return _held(one, now, pid=pid if alive else 0)
    if state == "FATAL":
        return _again(one, max(one.exits + 1, GAVE_UP), ended, now)
    if alive:
        return _living(one, pid, now, ailment, ended)
    # Stopped by hand: its next process is a first one. Whatever else is on its way to another state.
    return (replace(one, pid=0) if state == "STOPPED" and one.pid else one), ""


def _living(one: Instance, pid: int, now: datetime, ailment: str, ended: str) -> tuple[Instance, Act]:
    if one.pid == 0:
        first = replace(one, pid=pid, up_since=now)  # unless something ended one before it was ever looked at
        return _again(first, one.exits + 1, ailment, now, runs=True) if ailment else (first, "")
    stable = one.up_since is not None and now - one.up_since >= STABLE
    row = 0 if stable else one.exits
    if pid != one.pid:
        return _again(replace(one, pid=pid, up_since=now), row + 1, ailment or ended, now, runs=True)
    if ailment:
        return _again(one, row + 1, ailment, now)
    return (replace(one, exits=0) if stable and one.exits else one), ""


def _held(one: Instance, now: datetime, *, pid: int) -> tuple[Instance, Act]:
    free = replace(one, pid=pid, up_since=now, hold="", hold_until=None)
    if pid:  # somebody started it by hand, or the manager itself was started anew
        return (free if one.hold == "delay" else replace(free, exits=0, why="")), ""
    due = one.hold == "delay" and one.hold_until is not None and now >= one.hold_until
    return one, "resume" if due else ""  # it stays held until it is seen to run


def _again(one: Instance, exits: int, why: str, now: datetime, *, runs: bool = False) -> tuple[Instance, Act]:
    if exits >= CRASH_LOOP:
        return replace(one, pid=0, exits=exits, hold="stopped", hold_until=None, why=why), "pause"
    delay = delay_after(exits)
    if runs and not delay:
        return replace(one, exits=exits, why=why), ""
    return replace(one, pid=0, exits=exits, hold="delay", hold_until=now + delay, why=why), "pause"
