"""The claim: which queued tasks a worker takes, in one statement.

For each algorithm with a free slot, its best tasks by priority, then age; among algorithms of the
same priority turns are taken, so a long queue of one does not stand before the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from algodock_runner.domain.tasks import Claim

if TYPE_CHECKING:
    from collections.abc import Sequence

    from algodock_common.database import Writer

__all__ = ["Slots", "claim", "due", "one_statement"]


@dataclass(frozen=True, slots=True)
class Slots:
    """How many tasks of one algorithm this worker has room for, and what all workers may run at once (None: any)."""

    algorithm: str
    free: int
    limit: int | None


_CLAIM = sa.text("""
WITH wanted AS (
    SELECT * FROM unnest(CAST(:algorithms AS text[]), CAST(:free AS int[]), CAST(:limits AS int[]))
        AS wanted (algorithm, free, task_limit)
), room AS (
    SELECT algorithm, greatest(0, CASE WHEN task_limit IS NULL THEN free ELSE least(free, task_limit - (
        SELECT count(*) FROM tasks WHERE tasks.state = 'running' AND tasks.algorithm = wanted.algorithm
    )) END) AS free
    FROM wanted
), candidates AS (
    SELECT best.id, best.priority, row_number() OVER (
        PARTITION BY room.algorithm ORDER BY best.priority DESC, best.id) AS turn
    FROM room CROSS JOIN LATERAL (
        SELECT id, priority FROM tasks
        WHERE algorithm = room.algorithm AND state = 'queued' AND wakes_at IS NULL
            AND cancel_requested_at IS NULL AND expires_at > now()
        ORDER BY priority DESC, id
        LIMIT room.free
        FOR UPDATE SKIP LOCKED
    ) AS best
), picked AS (
    SELECT id FROM candidates ORDER BY priority DESC, turn, id LIMIT :room
)
UPDATE tasks SET
    state = 'running', attempt = attempt + 1, worker_id = :worker,
    lease_until = now() + make_interval(secs => :lease_s),
    claimed_at = now(), started_at = coalesce(started_at, now()),
    instance_id = NULL, release_id = NULL, commit = '', config_version = NULL
FROM picked WHERE tasks.id = picked.id
RETURNING tasks.id, algorithm, version, attempt, failures, max_attempts, timeout_s,
    CAST(extract(epoch FROM deadline - now()) AS double precision) AS deadline_in_s,
    body, body_key, content_type, traceparent,
    CAST(extract(epoch FROM now() - queued_at) AS double precision) AS waited_s
""")

_DUE = sa.text("""
SELECT wanted.algorithm, count(best.id) AS due
FROM unnest(CAST(:algorithms AS text[]), CAST(:free AS int[])) AS wanted (algorithm, free)
    CROSS JOIN LATERAL (
        SELECT id FROM tasks
        WHERE algorithm = wanted.algorithm AND state = 'queued' AND wakes_at IS NULL
            AND cancel_requested_at IS NULL AND expires_at > now()
        LIMIT wanted.free
    ) AS best
GROUP BY wanted.algorithm
""")

_ONE_AT_A_TIME = sa.text("""
SELECT pg_advisory_xact_lock(hashtextextended('claim/' || name, 0))
FROM (SELECT unnest(CAST(:algorithms AS text[])) AS name ORDER BY 1) AS limited
""")


def one_statement(slots: Sequence[Slots]) -> bool:
    """Say whether ``claim`` is one statement, or needs a transaction around its two."""
    return all(one.limit is None for one in slots)


async def due(to: Writer, slots: Sequence[Slots]) -> dict[str, int]:
    """Return how many tasks are due of each algorithm, counted up to what there is room for."""
    values = {"algorithms": [one.algorithm for one in slots], "free": [one.free for one in slots]}
    return {row["algorithm"]: row["due"] for row in await to.fetch(_DUE, values)}


async def claim(to: Writer, *, worker_id: str, slots: Sequence[Slots], room: int, lease_s: float) -> list[Claim]:
    """Claim up to ``room`` tasks for ``worker_id``, each with attempt + 1 and a lease of ``lease_s`` seconds.

    Algorithms with a limit are claimed for by one worker at a time, or two that count at the same
    moment would both find the last slot free.
    """
    limited = [one.algorithm for one in slots if one.limit is not None]
    if limited:
        await to.fetch(_ONE_AT_A_TIME, {"algorithms": limited})
    rows = await to.fetch(
        _CLAIM,
        {
            "algorithms": [one.algorithm for one in slots],
            "free": [one.free for one in slots],
            "limits": [one.limit for one in slots],
            "room": room,
            "worker": worker_id,
            "lease_s": lease_s,
        },
    )
    return [Claim(**row) for row in rows]
