"""Tasks that are to stop: the owner's word, how long ago it was, and those whose worker died before they had."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncSession

    from algodock_common.database import Transaction

__all__ = ["Adopted", "Asked", "adopt", "asked", "request"]

BATCH = 50

_REQUEST = sa.text("""
UPDATE tasks SET
    cancel_requested_at = coalesce(cancel_requested_at, now()), cancel_force = cancel_force OR :force
WHERE id = :id
""")

_ASKED = sa.text("""
SELECT cancel_force AS force, CAST(extract(epoch FROM now() - cancel_requested_at) AS double precision) AS ago_s
FROM tasks WHERE id = :id AND cancel_requested_at IS NOT NULL
""")

_ADOPT = sa.text(f"""
WITH orphans AS (
    SELECT id, attempt, worker_id, claimed_at FROM tasks
    WHERE cancel_requested_at IS NOT NULL AND finished_at IS NULL AND state = 'running' AND lease_until < now()
    LIMIT {BATCH} FOR UPDATE SKIP LOCKED
), noted AS (
    INSERT INTO attempts (task_id, attempt, outcome, worker_id, error, started_at)
    SELECT id, attempt, 'lost', worker_id, jsonb_build_object('type', 'WorkerLost', 'message',
        'the lease of worker ' || worker_id || ' ran out while the task was being cancelled'), claimed_at
    FROM orphans
    ON CONFLICT DO NOTHING  -- it was given back by its worker
)
UPDATE tasks SET attempt = tasks.attempt + 1, lost = lost + 1, worker_id = :worker,
    claimed_at = now(), lease_until = now() + make_interval(secs => :lease_s)
FROM orphans WHERE tasks.id = orphans.id
RETURNING tasks.id, algorithm, tasks.attempt, timeout_s
""")  # noqa: S608  # a constant of this module


@dataclass(frozen=True, slots=True)
class Asked:
    """A cancel: whether by force, and how many seconds ago it was asked for first."""

    force: bool
    ago_s: float


@dataclass(frozen=True, slots=True)
class Adopted:
    """A task to be cancelled whose worker is gone, held by a new attempt that only stops it."""

    id: UUID
    algorithm: str
    attempt: int
    timeout_s: float | None


async def request(tx: Transaction, task_id: UUID, *, force: bool) -> None:
    """Note that the task is to stop, and once said, by force; whoever holds it ends it."""
    await tx.session.execute(_REQUEST, {"id": task_id, "force": force})


async def asked(session: AsyncSession, task_id: UUID) -> Asked | None:
    """Return the cancel that was asked for, None if none was."""
    row = (await session.execute(_ASKED, {"id": task_id})).mappings().first()
    return None if row is None else Asked(**row)


async def adopt(tx: Transaction, *, worker_id: str, lease_s: float) -> list[Adopted]:
    """Take over tasks to be cancelled whose lease ran out or was given back; the worker before is fenced out."""
    rows = await tx.session.execute(_ADOPT, {"worker": worker_id, "lease_s": lease_s})
    return [Adopted(**row) for row in rows.mappings()]
