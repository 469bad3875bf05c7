"""What tasks do to services, for whoever scales them: those that run here, and those that are due in the database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from algodock_common.capacity import Durations
from algodock_common.events import ServiceLoad
from algodock_runner.repository.claim import Slots, due

if TYPE_CHECKING:
    from algodock_common.database import Database
    from algodock_common.routing import RoutingTable
    from algodock_runner.handlers.pool import Pool

__all__ = ["TaskLoad"]

MOST_COUNTED: Final = 1000
"""Tasks of one algorithm that are counted as waiting: no service gets as many instances as would need more."""


class TaskLoad:
    """Looks at the pool and at the queue."""

    def __init__(self, db: Database, table: RoutingTable, pool: Pool, worker_id: str) -> None:
        """Keep what it looks at, and hear of every attempt that ends."""
        self._db = db
        self._table = table
        self._pool = pool
        self._worker_id = worker_id
        self._durations = Durations()
        pool.ran = self._durations.note

    async def look(self) -> list[ServiceLoad]:
        """Return every service with tasks that run here, ended since the last look, or find no room here."""
        ended = self._durations.drain()
        busy = self._pool.busy
        names = sorted(busy.keys() | ended.keys() | self._pool.hungry)
        routes = {name: route for name in names if (route := self._table.route(name)) is not None}
        if not routes:
            return []
        waiting = await due(self._db, [Slots(name, MOST_COUNTED, None) for name in routes])
        found = []
        for name, route in routes.items():
            calls, p95_ms = ended.get(name, (0, None))
            found.append(
                ServiceLoad(
                    router=self._worker_id,
                    algorithm_id=route.algorithm_id,
                    algorithm=name,
                    in_flight=busy.get(name, 0),
                    backlog=waiting.get(name, 0),
                    calls=calls,
                    p95_ms=p95_ms,
                )
            )
        return found
