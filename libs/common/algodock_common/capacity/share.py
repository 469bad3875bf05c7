"""One service's slots in one process: pure counting; what is missing or left over is the keeper's to settle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from algodock_common.capacity.slots import Ask

if TYPE_CHECKING:
    from collections.abc import Callable

    from algodock_common.capacity.slots import Granted

__all__ = ["SMALL", "Share", "ShareKeeper"]

SMALL: Final = 16
"""Limits up to here are strict: each call has a slot of its own from the store, given back as it ends."""
_BATCHES: Final = 8
"""A larger limit is handed out in so many batches."""


class ShareKeeper(Protocol):
    """What settles shares with the store."""

    @property
    def away(self) -> bool:
        """Say whether the store did not answer last time."""
        ...

    def ask(self, share: Share) -> None:
        """Settle the share soon."""
        ...

    def now(self) -> float:
        """Return the time of ``Share.valid_until``."""
        ...


class Share:
    """How many slots of a service this process holds and uses.

    ``wanted`` are those who wait here; ``moved`` is called (quick, not raising) after the share was settled,
    or could not be; ``told`` when slots became free elsewhere: by default the keeper asks for them.
    """

    __slots__ = ("_keeper", "crowded", "held", "in_use", "limit", "moved", "name", "settled_at", "told", "unmet",
                 "valid_until", "wanted")  # fmt: skip

    def __init__(self, name: str, keeper: ShareKeeper) -> None:
        """Hold nothing."""
        self.name = name
        self.limit: int | None = None
        self.in_use = self.held = self.wanted = self.unmet = 0
        self.crowded = False
        self.valid_until = self.settled_at = 0.0
        self.moved: Callable[[], None] | None = None
        self.told: Callable[[], None] | None = None
        self._keeper = keeper

    @property
    def strict(self) -> bool:
        """Say whether each slot is asked for by itself."""
        return self.limit is not None and self.limit <= SMALL

    @property
    def unknown(self) -> bool:
        """Say whether the store is away and this process may not go on by what it last knew."""
        return self._keeper.away and (self.strict or self.held == 0)

    def enter(self, limit: int | None) -> bool:
        """Use one more slot if one is at hand; ``leave`` gives it back."""
        if limit is None:
            self.in_use += 1
            return True
        self.limit = limit
        if self.in_use >= self.held or not self._may_go_on():
            return False
        self.in_use += 1
        if not self.strict and self.held - self.in_use < self._batch() // 2:
            self._keeper.ask(self)
        return True

    def leave(self, limit: int | None) -> None:
        """Use one slot less."""
        self.in_use -= 1
        if limit is None:
            return
        self.limit = limit
        if self.strict or self.crowded:  # who waits longest gets it, wherever that is
            self.held = min(self.held, self.in_use)
            self._keeper.ask(self)
        elif self.held - self.in_use > 2 * self._batch():
            self._keeper.ask(self)

    def want(self, count: int, limit: int) -> None:
        """Say how many wait here, and ask for them."""
        self.limit = limit
        self.wanted = count
        self._keeper.ask(self)

    def to_ask(self) -> Ask:
        """Return what to say of it now; nothing that is given back by that is used any more."""
        limit = self.limit or max(1, self.in_use)
        slack = 0 if self.strict or self.crowded or self.limit is None else self._batch()
        aim = self.in_use + self.wanted + slack
        self.held = max(self.in_use, min(self.held, aim))
        need = max(0, min(self.wanted, self.in_use + self.wanted - self.held))
        return Ask(self.name, limit, self.held, self.in_use, need, max(0, aim - self.held - need))

    def settled(self, granted: Granted, asked_at: float, lease_s: float) -> None:
        """Take over what the store answered to an ask of ``asked_at``."""
        self.held, self.unmet = granted.held, granted.unmet
        self.crowded = granted.elsewhere > 0
        self.settled_at = asked_at
        self.valid_until = asked_at + lease_s
        if self.moved is not None:
            self.moved()

    def _may_go_on(self) -> bool:
        if self._keeper.now() < self.valid_until:
            return not (self.strict and self._keeper.away)
        if self._keeper.away and not self.strict:
            return True  # by the last share: it was part of the limit, and nobody gets another one now
        self._keeper.ask(self)
        return False

    def _batch(self) -> int:
        return max(1, (self.limit or 1) // _BATCHES)
