"""What timelines are derived from: a task's row and its spent attempts, of one moment."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import sqlalchemy as sa

from algodock_runner.domain.timeline import History, Spent, Worked, first_attempt_after

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncSession

__all__ = ["ATTEMPTS_AT_ONCE", "history", "standing"]

ATTEMPTS_AT_ONCE = 500

_HISTORY = sa.text("""
SELECT t.id, t.state, t.algorithm, t.attempt, t.created_at, t.not_before, t.queued_at, t.claimed_at, t.finished_at,
    t.wakes_at, t.worker_id, t.instance_id, t.release_id, t.commit, t.config_version, t.error,
    a.attempt AS spent_attempt, a.outcome, a.started_at AS spent_started_at, a.ended_at AS spent_ended_at,
    a.worker_id AS spent_worker_id, a.instance_id AS spent_instance_id, a.release_id AS spent_release_id,
    a.commit AS spent_commit, a.config_version AS spent_config_version, a.error AS spent_error
FROM tasks t LEFT JOIN LATERAL (
    SELECT * FROM attempts WHERE task_id = t.id AND attempt >= :first ORDER BY attempt LIMIT :limit
) a ON true
WHERE t.id = :id AND (CAST(:owner AS text) IS NULL OR t.owner = :owner)
ORDER BY a.attempt
""")

_STANDING = sa.text("SELECT id, state, attempt FROM tasks WHERE id = ANY(CAST(:ids AS uuid[]))")


async def history(session: AsyncSession, task_id: UUID, *, owner: str | None, after: int) -> History | None:
    """Return what happened to a task, as far as the steps behind ``after`` need it; one statement, one moment."""
    found = await session.execute(
        _HISTORY,
        {"id": task_id, "owner": owner, "first": first_attempt_after(after), "limit": ATTEMPTS_AT_ONCE + 1},
    )
    rows = found.mappings().all()
    if not rows:
        return None
    first = rows[0]
    spent = [
        Spent(
            row["spent_attempt"],
            row["outcome"],
            row["spent_started_at"],
            row["spent_ended_at"],
            Worked(
                row["spent_worker_id"],
                row["spent_instance_id"],
                row["spent_release_id"],
                row["spent_commit"],
                row["spent_config_version"],
            ),
            row["spent_error"],
        )
        for row in rows
        if row["spent_attempt"] is not None
    ]
    return History(
        id=first["id"],
        state=first["state"],
        algorithm=first["algorithm"],
        attempt=first["attempt"],
        created_at=first["created_at"],
        not_before=first["not_before"],
        queued_at=first["queued_at"],
        claimed_at=first["claimed_at"],
        finished_at=first["finished_at"],
        wakes_at=first["wakes_at"],
        worked=Worked(
            first["worker_id"], first["instance_id"], first["release_id"], first["commit"], first["config_version"]
        ),
        error=first["error"],
        spent=spent[:ATTEMPTS_AT_ONCE],
        more=len(spent) > ATTEMPTS_AT_ONCE,
    )


async def standing(session: AsyncSession, ids: Sequence[UUID]) -> dict[UUID, tuple[str, int]]:
    """Return state and attempt of those of ``ids`` that are there."""
    rows = await session.execute(_STANDING, {"ids": list(ids)})
    return {UUID(int=row.id.int): (row.state, row.attempt) for row in rows}
