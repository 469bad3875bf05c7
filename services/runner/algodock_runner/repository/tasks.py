"""Tasks as their owners see them: read and listed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import sqlalchemy as sa

from algodock_runner.domain.tasks import Result, StoredResult, TaskView

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncSession

    from algodock_common.database import Transaction, Writer
    from algodock_common.events import TaskState

__all__ = ["OWN_COLUMNS", "VIEW", "Filter", "find", "listed", "lock", "result_beside", "result_of"]

ID_SKEW: Final = timedelta(hours=1)

OWN_COLUMNS = """
    t.id, t.state, t.algorithm, t.attempt, t.max_attempts, t.priority, t.version, t.rerun_of,
    t.idempotency_key, t.release_id, t.commit, t.config_version,
    t.created_at, t.not_before, t.deadline, t.started_at, t.finished_at, t.cancel_requested_at,
    t.result_key, t.result_content_type, t.result_bytes, t.error, t.metadata
"""

VIEW = f"""
SELECT {OWN_COLUMNS},
    CASE WHEN t.callback_url IS NOT NULL THEN coalesce(c.state, 'pending') END AS callback_state,
    coalesce(c.attempts, 0) AS callback_attempts
FROM tasks t LEFT JOIN callbacks c ON c.task_id = t.id
"""  # noqa: S608  # only constants of this module

_FIND = sa.text(VIEW + "WHERE t.id = :id AND (CAST(:owner AS text) IS NULL OR t.owner = :owner)")

_RESULT_COLUMNS = """
SELECT state, result_key, result_content_type, result_bytes, result_inline, result_stored_at, error,
    result_removed_at, coalesce(result_expires_at <= result_removed_at, false) AS by_age
FROM tasks
"""

_RESULT = sa.text(_RESULT_COLUMNS + "WHERE id = :id AND (CAST(:owner AS text) IS NULL OR owner = :owner)")

_RESULT_BESIDE = sa.text(f"{_RESULT_COLUMNS} WHERE id = :id AND owner = (SELECT o.owner FROM tasks o WHERE o.id = :of)")  # noqa: S608

_LOCK = sa.text("""
SELECT state, attempt FROM tasks WHERE id = :id AND (CAST(:owner AS text) IS NULL OR owner = :owner) FOR UPDATE
""")


@dataclass(frozen=True, slots=True)
class Filter:
    """Which tasks to list; ``owner`` None: everybody's. ``after`` is the last id of the page before.

    ``since`` (inclusive) and ``until`` are about when a task was accepted; of ``metadata`` every pair
    must be the task's own.
    """

    owner: str | None = None
    algorithm: str | None = None
    state: TaskState | None = None
    after: UUID | None = None
    limit: int = 50
    since: datetime | None = None
    until: datetime | None = None
    idempotency_key: str | None = None
    metadata: Mapping[str, str] | None = None


async def find(of: Writer, task_id: UUID, *, owner: str | None, gateway_url: str) -> TaskView | None:
    """Return the task, or None when there is none that ``owner`` (None: anybody) may see."""
    rows = await of.fetch(_FIND, {"id": task_id, "owner": owner})
    return TaskView.of(rows[0], gateway_url=gateway_url) if rows else None


async def listed(session: AsyncSession, wanted: Filter, *, gateway_url: str) -> list[TaskView]:
    """Return a page of tasks, newest first."""
    conditions = {
        "owner": "t.owner = :owner",
        "algorithm": "t.algorithm = :algorithm",
        "state": "t.state = :state",
        "after": "t.id < :after",
        # Ids begin with the time that they were made at, which a skewed clock may put an hour off.
        "since": "t.created_at >= :since AND t.id >= :since_id",
        "until": "t.created_at < :until AND t.id < :until_id",
        "idempotency_key": "t.idempotency_key = :idempotency_key",
        "metadata": "t.metadata @> CAST(:metadata AS jsonb)",
    }
    values = {name: getattr(wanted, name) for name in conditions if getattr(wanted, name) is not None}
    where = " AND ".join(conditions[name] for name in values) or "true"
    statement = sa.text(f"{VIEW} WHERE {where} ORDER BY t.id DESC LIMIT :limit")
    if wanted.since is not None:
        values["since_id"] = _id_at(wanted.since - ID_SKEW)
    if wanted.until is not None:
        values["until_id"] = _id_at(wanted.until + ID_SKEW)
    if wanted.metadata is not None:
        values["metadata"] = json.dumps(dict(wanted.metadata))
    rows = await session.execute(statement, values | {"limit": wanted.limit})
    return [TaskView.of(row, gateway_url=gateway_url) for row in rows.mappings()]


def _id_at(moment: datetime) -> UUID:
    """Return the lowest UUIDv7 that can have been made at a moment."""
    return UUID(int=max(0, int(moment.timestamp() * 1000)) << 80)


async def result_of(of: Writer, task_id: UUID, *, owner: str | None) -> Result | None:
    """Return where the result lies and how the task stands; None when there is no such task."""
    rows = await of.fetch(_RESULT, {"id": task_id, "owner": owner})
    return _result(rows[0]) if rows else None


async def result_beside(db: Writer, task_id: UUID, *, of: UUID) -> Result | None:
    """Return the same of a task that has the owner of another one, None when there is none."""
    rows = await db.fetch(_RESULT_BESIDE, {"id": task_id, "of": of})
    return _result(rows[0]) if rows else None


def _result(row: Mapping[str, Any]) -> Result:
    stored = row["result_key"] and StoredResult(
        key=row["result_key"],
        content_type=row["result_content_type"],
        size=row["result_bytes"],
        inline=row["result_inline"],
        stored=row["result_stored_at"] is not None,
    )
    return Result(row["state"], stored or None, row["error"], row["result_removed_at"], row["by_age"])


async def lock(tx: Transaction, task_id: UUID, *, owner: str | None) -> tuple[TaskState, int] | None:
    """Lock the task's row; return its state and attempt."""
    row = (await tx.session.execute(_LOCK, {"id": task_id, "owner": owner})).first()
    return None if row is None else (row.state, row.attempt)
