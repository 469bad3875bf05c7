"""Slots in memory, counted as Redis counts them; held to the same contract test."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from algodock_common.capacity import Granted, SlotsAway
from algodock_common.capacity.slots import WANT_S

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from algodock_common.capacity import Ask

__all__ = ["FakeSlots"]


@dataclass
class _Holder:
    held: int = 0
    until: float = 0
    want: int = 0
    since: float = 0
    want_until: float = 0


class FakeSlots:
    """``SlotStore`` for several processes of one test; ``away`` loses it, ``forget`` its memory."""

    def __init__(self) -> None:
        """Count from now on; nobody ran before."""
        self.away = False
        self.asks = 0
        self.listeners: list[Callable[[bytes], None]] = []
        self._born = float("-inf")
        self._services: dict[str, dict[str, _Holder]] = {}

    def forget(self) -> None:
        """Lose all that is held, as a Redis that is started anew."""
        self._services.clear()
        self._born = time.monotonic()

    async def settle(self, holder: str, asks: Sequence[Ask], *, lease_s: float) -> list[Granted]:
        """Answer each ask."""
        if self.away:
            raise SlotsAway("Redis does not answer: a test took it away", retry_after=1)
        self.asks += len(asks)
        return [self._settle(holder, one, lease_s) for one in asks]

    async def close(self) -> None:
        """Do nothing."""

    def _settle(self, holder: str, ask: Ask, lease_s: float) -> Granted:
        now = time.monotonic()
        holders = self._services.setdefault(ask.name, {})
        for one in holders.values():
            one.held = one.held if one.until > now else 0
            one.want = one.want if one.want_until > now else 0
        mine = holders.setdefault(holder, _Holder())
        rest = [one for one in holders.values() if one is not mine]
        others, elsewhere = sum(one.held for one in rest), sum(one.want for one in rest)
        ahead = sum(one.want for one in rest if not mine.want or one.since < mine.since)
        had, wished = mine.held, mine.want
        held = max(ask.in_use, min(ask.keep, max(ask.limit - others, 0)))
        free, grant = ask.limit - others - held, 0
        if free > 0 and now - self._born >= lease_s:
            grant = min(ask.need, max(free - ahead, 0))
            if grant == ask.need and not elsewhere:
                grant += min(ask.extra, free - grant)
        mine.held, mine.until = held + grant, now + lease_s
        mine.want, mine.want_until = max(ask.need - grant, 0), now + WANT_S
        if not mine.want or grant or not wished:
            mine.since = now
        if (mine.want and not wished) or (elsewhere and mine.held < had and free > grant):
            for listener in self.listeners:
                listener(ask.name.encode())
        return Granted(mine.held, elsewhere, mine.want)
