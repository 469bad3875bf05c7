"""The scale rule: how many instances a service shall have for what is open and waiting at it."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from algodock_common.events import ScaleRule, ServiceLoad

__all__ = ["LoadBoard", "decide", "instances_for"]

SUSTAINED_S: Final = 3.0
"""A load counts as one to grow for when it lasted so long."""
_FRESH_S: Final = 3.0


def instances_for(rule: ScaleRule, demand: float) -> int:
    """Return how many instances a demand needs; never none, that is for idleness to say."""
    return min(rule.max, max(rule.min, 1, math.ceil(demand / rule.target)))


def decide(rule: ScaleRule, current: int, *, sustained: float, peak: float, quiet_s: float, settled_s: float) -> int:
    """Return how many instances there shall be; ``current`` are there.

    ``sustained`` is the least demand of the last seconds, ``peak`` the largest within the cool-down,
    ``quiet_s`` how long there was none at all, ``settled_s`` how long ago anything was scaled.
    """
    if rule.min == 0 and peak == 0 and min(quiet_s, settled_s) >= rule.idle_s:
        return 0
    grown = instances_for(rule, sustained)
    if grown > current or current > rule.max:
        return grown
    shrunk = instances_for(rule, peak)
    return shrunk if shrunk < current and settled_s >= rule.cooldown_s else current


class LoadBoard:
    """What routers said last of each service, and what that came to each second."""

    def __init__(self) -> None:
        """Know of no load."""
        self._said: dict[str, dict[str, tuple[float, ServiceLoad]]] = {}
        self._seen: dict[str, deque[tuple[float, float]]] = {}

    def put(self, load: ServiceLoad, now: float) -> None:
        """Take a router's word."""
        self._said.setdefault(load.algorithm, {})[load.router] = now, load

    def busy(self, algorithm: str, now: float) -> bool:
        """Say whether a router has, or just had, anything of the service."""
        return any(load.busy for at, load in self._said.get(algorithm, {}).values() if now - at < _FRESH_S)

    def demand(self, algorithm: str, now: float) -> float:
        """Return how many calls and tasks are open or waiting; what waits for any worker counts once."""
        said = [load for at, load in self._said.get(algorithm, {}).values() if now - at < _FRESH_S]
        return sum(one.in_flight + one.queued for one in said) + max((one.backlog for one in said), default=0)

    def note(self, algorithm: str, now: float, keep_s: float) -> tuple[float, float]:
        """Note the demand of now; return the least of the last seconds and the largest within ``keep_s``."""
        seen = self._seen.setdefault(algorithm, deque())
        seen.append((now, self.demand(algorithm, now)))
        while now - seen[0][0] > max(keep_s, SUSTAINED_S):
            seen.popleft()
        lately = [demand for at, demand in seen if now - at <= SUSTAINED_S]
        sustained = min(lately) if now - seen[0][0] >= SUSTAINED_S * 0.6 else 0.0
        return sustained, max(demand for _, demand in seen)

    def forget(self, keep: set[str], now: float) -> None:
        """Drop services that have no rule any more, and routers that have been silent for long."""
        self._seen = {name: seen for name, seen in self._seen.items() if name in keep}
        for name, said in list(self._said.items()):
            self._said[name] = {router: one for router, one in said.items() if now - one[0] < _FRESH_S}
            if not self._said[name]:
                del self._said[name]
