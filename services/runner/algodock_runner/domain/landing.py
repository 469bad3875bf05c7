"""How fast objects land, and so how many may wait and all the same be there in time."""

from __future__ import annotations

__all__ = ["Landing"]

IN_TIME_S = 6.0
"""Objects are promised within 10 s of their results; the rest is for a store that is slower now than it was."""
FIRST_GUESS = 250.0
WINDOW_S = 0.5
FALLS_BY = 0.05
"""A window below the rate tells more of what else the machine does than of the store: once such a store is all that
anybody waits for, it has the machine for itself."""
FEWEST = 32


class Landing:
    """The rate of one worker's writes to the object store, learnt while it writes as fast as it can."""

    def __init__(self) -> None:
        """Begin with a guess, in objects a second."""
        self.rate = FIRST_GUESS
        self._began: float | None = None
        self._landed = 0

    @property
    def may_wait(self) -> int:
        """Return how many objects may wait to be written in time."""
        return max(FEWEST, round(self.rate * IN_TIME_S))

    def landed(self, now: float) -> None:
        """Note that one landed at ``now`` (monotonic seconds) while others waited and nothing held them up."""
        if self._began is None:
            self._began, self._landed = now, 0
            return
        self._landed += 1
        took_s = now - self._began
        if took_s >= WINDOW_S:
            now_rate = self._landed / took_s
            self.rate = max(now_rate, self.rate + (now_rate - self.rate) * FALLS_BY)
            self._began, self._landed = now, 0

    def pause(self) -> None:
        """Note that for a moment none waited, or that they were made to wait: that says nothing of the store."""
        self._began = None
