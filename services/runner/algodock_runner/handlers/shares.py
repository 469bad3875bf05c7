"""A worker's slots of services with a limit: asked for when tasks are due, held while they run, then given back."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from algodock_runner.repository.claim import due

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from algodock_common.capacity import Capacity
    from algodock_common.database import Database
    from algodock_runner.domain.tasks import Claim
    from algodock_runner.repository.claim import Slots

__all__ = ["Shares"]


class Shares:
    """Keeps tasks and calls of a service together within its limit."""

    def __init__(self, db: Database, capacity: Capacity) -> None:
        """Keep what it works with; ``capacity`` is this process's."""
        self._db = db
        self._capacity = capacity
        self._seats: dict[UUID, int] = {}

    async def seated(self, slots: Sequence[Slots], ring: Callable[[str], None]) -> tuple[list[Slots], set[str]]:
        """Return what may be claimed for, and the algorithms that have more tasks due than slots were free.

        Of a service with a limit that is as many tasks as are due and slots could be taken for; ``claimed``
        gives back the rest. ``ring`` is called with its name when slots that are waited for may be free.
        """
        limited = [one for one in slots if one.limit is not None]
        if not limited:
            return list(slots), set()
        counts = await due(self._db, limited)
        found = [one for one in slots if one.limit is None]
        short: set[str] = set()
        # Together: what several services ask for is one round trip.
        for one, got in zip(limited, await asyncio.gather(*(self._take(one, counts, ring) for one in limited)),
                            strict=True):  # fmt: skip
            if got:
                found.append(replace(one, free=got))
            if got < counts.get(one.algorithm, 0):
                short.add(one.algorithm)
        return found, short

    async def _take(self, one: Slots, counts: dict[str, int], ring: Callable[[str], None]) -> int:
        assert one.limit is not None  # noqa: S101  # only such are asked for
        wanted = counts.get(one.algorithm, 0)
        if not wanted:
            self._capacity.give_up(one.algorithm)
            return 0
        self._capacity.share(one.algorithm).told = partial(ring, one.algorithm)
        return await self._capacity.take(one.algorithm, one.limit, wanted)

    def claimed(self, slots: Sequence[Slots], claims: Sequence[Claim]) -> None:
        """Keep the slots of ``claims``, each until ``ended``, and give back what ``slots`` have beyond."""
        free = {one.algorithm: (one.free, one.limit) for one in slots if one.limit is not None}
        for claim in claims:
            count, limit = free.get(claim.algorithm, (0, None))
            if limit is not None:
                self._seats[claim.id] = limit
                free[claim.algorithm] = count - 1, limit
        for algorithm, (count, limit) in free.items():
            for _ in range(count):
                self._capacity.share(algorithm).leave(limit)

    def ended(self, claim: Claim) -> None:
        """Give back the slot of a task that has ended, if it had one."""
        limit = self._seats.pop(claim.id, None)
        if limit is not None:
            self._capacity.share(claim.algorithm).leave(limit)
