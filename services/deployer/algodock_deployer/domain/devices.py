"""GPUs: which ones an instance gets, so that none is given twice unless shares of it are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["WHOLE", "Device", "Held", "pick", "shares_of", "why_not"]

WHOLE = 1000
"""A device in thousandths, the unit that leases are counted in."""


@dataclass(frozen=True)
class Device:
    """A GPU of this machine; ``index`` is its place by PCI bus, ``uuid`` its own for ever, ``memory`` in MiB."""

    index: int
    uuid: str
    name: str = ""
    memory: int = 0


@dataclass(frozen=True)
class Held:
    """A lease of a device: who has it, and how many thousandths."""

    device: str
    share: int
    algorithm: str
    release: str


def shares_of(part: float) -> int:
    """Return a part of a device (0 to 1) in thousandths, at least one."""
    return max(1, round(part * WHOLE))


def pick(devices: Sequence[Device], held: Sequence[Held], count: int, share: int) -> Sequence[Device] | None:
    """Return ``count`` devices that each have ``share`` left, None when there are not so many.

    Shares go where others are already, so that whole devices stay whole for those that need one.
    """
    taken = _taken(held)
    fitting = [one for one in devices if taken.get(one.uuid, 0) + share <= WHOLE]
    fitting.sort(key=lambda one: (-taken.get(one.uuid, 0), one.index))
    return sorted(fitting[:count], key=lambda one: one.index) if len(fitting) >= count else None


def why_not(devices: Sequence[Device], held: Sequence[Held], count: int, share: int, algorithm: str) -> str:
    """Return why ``pick`` found nothing, who has the devices, and what can be done."""
    wanted = f"{count} GPU{'s' if count > 1 else ''}" if share == WHOLE else f"{share / WHOLE:g} of {count} GPU(s)"
    if len(devices) < count:
        there = f"{len(devices)} of them" if devices else "none"
        return f"it wants {wanted}, and this machine has {there}"
    taken = _taken(held)
    known = {one.uuid for one in devices}
    free = sum(1 for one in devices if taken.get(one.uuid, 0) + share <= WHOLE)
    holders = sorted({one.algorithm for one in held if one.device in known})
    said = f"it wants {wanted}, and {free} of {len(devices)} are free; the others are held by {', '.join(holders)}"
    if algorithm in holders:
        return (
            f"{said}. Its own release that serves has some: with `strategy: recreate` that gives its devices up first "
            "(calls wait meanwhile), with `resources.gpu_share` two releases fit on one device"
        )
    return f"{said}. Stop or scale down one of these, or let them share by `resources.gpu_share`"


def _taken(held: Sequence[Held]) -> Mapping[str, int]:
    taken: dict[str, int] = {}
    for one in held:
        taken[one.device] = taken.get(one.device, 0) + one.share
    return taken
