"""Where a task stands among those that wait: counted in the order of the claim, at a bounded price."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from algodock_runner.domain.queue import Queue

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncSession

__all__ = ["COUNTED", "place"]

COUNTED: Final = 10_000
"""Nobody is counted beyond so many: further back a place is "at least"."""
LOOKED_AT: Final = 50
"""Of the tasks before those that run, so many tell how long one takes."""

# The same order as in ``claim``, by the same index. The tasks before the oldest that runs have ended, most of them.
_PLACE = sa.text(f"""
WITH me AS (
    SELECT id, algorithm, priority FROM tasks WHERE id = :id AND state = 'queued' AND wakes_at IS NULL
), running AS (
    SELECT count(*) AS tasks, CAST(avg(extract(epoch FROM now() - claimed_at)) AS double precision) AS seconds,
        (array_agg(id ORDER BY id))[1] AS oldest
    FROM tasks WHERE state = 'running' AND algorithm = :algorithm
), recent AS (
    SELECT CAST(avg(extract(epoch FROM finished_at - claimed_at)) AS double precision) AS seconds
    FROM (
        SELECT state, finished_at, claimed_at FROM tasks
        WHERE algorithm = :algorithm AND id < coalesce((SELECT oldest FROM running), CAST(:id AS uuid))
        ORDER BY id DESC LIMIT {LOOKED_AT}
    ) AS last
    WHERE state IN ('succeeded', 'failed')
)
SELECT running.tasks AS running, running.seconds AS running_s, recent.seconds AS recent_s, now() AS now,
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
FROM me, running, recent
""")  # noqa: S608  # constants of this module


async def place(session: AsyncSession, task_id: UUID, algorithm: str) -> Queue | None:
    """Return how a task stands in its algorithm's queue; None when it does not wait to be claimed."""
    row = (await session.execute(_PLACE, {"id": task_id, "algorithm": algorithm})).mappings().first()
    if row is None:
        return None
    position = min(row["position"], COUNTED + 1)
    return Queue(position, row["running"], row["running_s"], row["recent_s"], row["now"])
