"""Where a task stands among those that wait: counted in the order of the claim, at a bounded price."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from algodock_runner.domain.queue import Queue

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncSession

    from algodock_common.database import Writer

__all__ = ["COUNTED", "place", "recent_s", "waiting_algorithms"]

COUNTED: Final = 10_000
"""Nobody is counted beyond so many: further back a place is "at least"."""
LOOKED_AT: Final = 50
"""Of the tasks before those that run, so many tell how long one takes."""

# The same order as in ``claim``, by the same index.
_PLACE = sa.text(f"""
WITH me AS (
    SELECT id, algorithm, priority FROM tasks WHERE id = :id AND state = 'queued' AND wakes_at IS NULL
), running AS (
    SELECT count(*) AS tasks, CAST(avg(extract(epoch FROM now() - claimed_at)) AS double precision) AS seconds
    FROM tasks WHERE state = 'running' AND algorithm = :algorithm
)
SELECT running.tasks AS running, running.seconds AS running_s, now() AS now,
    1 + (SELECT count(*) FROM (
        SELECT 1 FROM tasks
        WHERE algorithm = :algorithm AND state = 'queued' AND wakes_at IS NULL AND priority > me.priority
        LIMIT {COUNTED}
    ) AS preferred) + (SELECT count(*) FROM (
        SELECT 1 FROM tasks
        WHERE algorithm = :algorithm AND state = 'queued' AND wakes_at IS NULL
            AND priority = me.priority AND id < me.id
        LIMIT {COUNTED}
    ) AS older) AS position
FROM me, running
""")  # noqa: S608  # constants of this module

# The tasks before the oldest that runs have ended, most of them. Compared as rows, so that only the index that begins
# with the algorithm has their order: another one would be read through the tasks of all others.
_RECENT = sa.text(f"""
SELECT CAST(avg(extract(epoch FROM finished_at - claimed_at)) AS double precision) AS seconds
FROM (
    SELECT state, finished_at, claimed_at FROM tasks
    WHERE (algorithm, id) >= (:algorithm, CAST('00000000-0000-0000-0000-000000000000' AS uuid))
        AND (algorithm, id) < (:algorithm, coalesce((
            SELECT id FROM tasks WHERE state = 'running' AND algorithm = :algorithm ORDER BY id LIMIT 1
        ), CAST(:id AS uuid)))
    ORDER BY algorithm DESC, id DESC LIMIT {LOOKED_AT}
) AS last
WHERE state IN ('succeeded', 'failed')
""")  # noqa: S608


async def recent_s(session: AsyncSession, task_id: UUID, algorithm: str) -> float | None:
    """Return how long the algorithm's last tasks took, in seconds on average; None when none has run lately."""
    seconds: float | None = (await session.execute(_RECENT, {"id": task_id, "algorithm": algorithm})).scalar_one()
    return seconds


async def place(session: AsyncSession, task_id: UUID, algorithm: str, *, recent_s: float | None) -> Queue | None:
    """Return how a task stands in its algorithm's queue; None when it does not wait to be claimed."""
    row = (await session.execute(_PLACE, {"id": task_id, "algorithm": algorithm})).mappings().first()
    if row is None:
        return None
    position = min(row["position"], COUNTED + 1)
    return Queue(position, row["running"], row["running_s"], recent_s, row["now"])


_WAITING = sa.text("""
WITH RECURSIVE names AS (
    (SELECT algorithm FROM tasks WHERE state = 'queued' AND wakes_at IS NULL ORDER BY algorithm LIMIT 1)
    UNION ALL
    SELECT (
        SELECT algorithm FROM tasks
        WHERE state = 'queued' AND wakes_at IS NULL AND algorithm > names.algorithm ORDER BY algorithm LIMIT 1
    ) FROM names WHERE names.algorithm IS NOT NULL
)
SELECT algorithm FROM names WHERE algorithm IS NOT NULL
""")
"""One step in the index for each algorithm, however many tasks it has."""


async def waiting_algorithms(to: Writer) -> list[str]:
    """Return the algorithms that have tasks due."""
    return [row["algorithm"] for row in await to.fetch(_WAITING, {})]
