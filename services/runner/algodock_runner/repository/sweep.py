"""What the reconciler looks for: tasks that wait no longer, lost their worker, or are past their time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncSession

    from algodock_common.database import Transaction

__all__ = ["Cancelled", "Lost", "Overdue", "cancelled", "lost", "overdue", "wake", "with_work"]

BATCH = 500

_WAKE = sa.text(f"""
WITH due AS (
    SELECT id FROM tasks WHERE wakes_at <= now() ORDER BY wakes_at LIMIT {BATCH} FOR UPDATE SKIP LOCKED
), woken AS (
    UPDATE tasks SET state = 'queued', wakes_at = NULL, queued_at = now()
    FROM due WHERE tasks.id = due.id AND tasks.state IN ('accepted', 'queued')
    RETURNING algorithm
)
SELECT algorithm, count(*) AS tasks FROM woken GROUP BY algorithm
""")  # noqa: S608  # a constant of this module

_LOST = sa.text(f"""
SELECT id, attempt, lost, worker_id FROM tasks
WHERE state = 'running' AND lease_until < now() AND cancel_requested_at IS NULL
LIMIT {BATCH} FOR UPDATE SKIP LOCKED
""")  # noqa: S608

_OVERDUE = sa.text(f"""
SELECT id, attempt, deadline IS NOT NULL AS had_deadline FROM tasks
WHERE state IN ('accepted', 'queued') AND expires_at <= now()
ORDER BY expires_at LIMIT {BATCH} FOR UPDATE SKIP LOCKED
""")  # noqa: S608

_CANCELLED = sa.text(f"""
SELECT id, attempt FROM tasks
WHERE cancel_requested_at IS NOT NULL AND finished_at IS NULL AND state IN ('accepted', 'queued')
LIMIT {BATCH} FOR UPDATE SKIP LOCKED
""")  # noqa: S608

_WITH_WORK = sa.text("""
SELECT name FROM algorithms
WHERE EXISTS (SELECT 1 FROM tasks WHERE algorithm = name AND state = 'queued' AND wakes_at IS NULL)
""")


@dataclass(frozen=True, slots=True)
class Lost:
    """A running task whose lease ran out; ``lost`` is how often that happened before."""

    id: UUID
    attempt: int
    lost: int
    worker_id: str


@dataclass(frozen=True, slots=True)
class Overdue:
    """A waiting task past its deadline, or past the longest wait."""

    id: UUID
    attempt: int
    had_deadline: bool


@dataclass(frozen=True, slots=True)
class Cancelled:
    """A waiting task that somebody asked to cancel while it ran."""

    id: UUID
    attempt: int


async def wake(tx: Transaction) -> dict[str, int]:
    """Queue what was waiting for a time that has come; return how many of which algorithm."""
    return {row.algorithm: row.tasks for row in await tx.session.execute(_WAKE)}


async def lost(tx: Transaction) -> list[Lost]:
    """Lock and return running tasks whose lease ran out; a worker takes those over that are being cancelled."""
    return [Lost(**row) for row in (await tx.session.execute(_LOST)).mappings()]


async def overdue(tx: Transaction) -> list[Overdue]:
    """Lock and return waiting tasks whose time is over."""
    return [Overdue(**row) for row in (await tx.session.execute(_OVERDUE)).mappings()]


async def cancelled(tx: Transaction) -> list[Cancelled]:
    """Lock and return waiting tasks that are to be cancelled."""
    return [Cancelled(**row) for row in (await tx.session.execute(_CANCELLED)).mappings()]


async def with_work(session: AsyncSession) -> list[str]:
    """Return the algorithms that have tasks to claim."""
    return list((await session.execute(_WITH_WORK)).scalars())
