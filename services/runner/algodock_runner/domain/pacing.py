"""How many callbacks may be on their way to one receiver, so that one that hangs does not take all senders.

A receiver begins with two at once; each callback that it takes gives it one more, up to a bound; one
that does not answer falls back to a single one, and one that asks for a pause gets it.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from algodock_runner.domain.callbacks import Answer

__all__ = ["FIRST", "Pacing"]

FIRST = 2
KEPT = 2000
LONGEST_PAUSE_S = 300.0
_ASKS_FOR_A_PAUSE = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)


@dataclass(slots=True)
class _Target:
    allowed: int
    in_flight: int = 0
    paused_until: float = 0.0


class Pacing:
    """What one process knows of the receivers; times are the monotonic clock's seconds."""

    def __init__(self, most: int) -> None:
        """Allow no receiver more than ``most`` at once."""
        self._most = most
        self.first = min(FIRST, most)
        self._targets: OrderedDict[str, _Target] = OrderedDict()

    def free(self, now: float) -> dict[str, int]:
        """Return how many more each known receiver may get; every other one may get ``first``."""
        return {
            name: max(0, one.allowed - one.in_flight) if one.paused_until <= now else 0
            for name, one in self._targets.items()
        }

    def begin(self, name: str) -> None:
        """Note a callback that leaves for ``name``: its owner, host and port."""
        target = self._targets.setdefault(name, _Target(self.first))
        target.in_flight += 1
        self._targets.move_to_end(name)
        self._forget()

    def end(self, name: str, answer: Answer | None, now: float) -> None:
        """Note what became of it; None: it never left."""
        target = self._targets.get(name)
        if target is None:
            return
        target.in_flight -= 1
        if answer is None:
            return
        if answer.status is None:
            target.allowed = 1
        elif HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
            target.allowed = min(self._most, target.allowed + 1)
        if answer.status in _ASKS_FOR_A_PAUSE and answer.retry_after_s:
            target.paused_until = now + min(answer.retry_after_s, LONGEST_PAUSE_S)

    def _forget(self) -> None:
        """Keep to the bound; who has callbacks on their way is not forgotten."""
        while len(self._targets) > KEPT:
            name, oldest = next(iter(self._targets.items()))
            if oldest.in_flight:
                self._targets.move_to_end(name)
                return
            del self._targets[name]
