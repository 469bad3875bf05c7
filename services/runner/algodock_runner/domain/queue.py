"""How a waiting task stands in its queue, and about when it begins."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

__all__ = ["Queue", "estimated_start"]


@dataclass(frozen=True, slots=True)
class Queue:
    """A task's place among its algorithm's due tasks, 1 being the next, at ``now`` by the database's clock.

    ``running`` of them run now, for ``running_s`` seconds so far; recent ones took ``recent_s`` (both
    on average, None: nothing is known).
    """

    position: int
    running: int
    running_s: float | None
    recent_s: float | None
    now: datetime


def estimated_start(queue: Queue) -> datetime | None:
    """Return about when the task begins, if as many run at once as do now; None when nobody can say.

    A task takes as long as recent ones did, or as those that run have been at it already: whichever
    is longer. One begins whenever one ends.
    """
    takes_s = max(queue.recent_s or 0.0, queue.running_s or 0.0)
    if queue.running == 0 or takes_s <= 0:
        return None
    return queue.now + timedelta(seconds=queue.position * takes_s / queue.running)
