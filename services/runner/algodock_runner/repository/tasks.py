"""Tasks as their owners see them: accepted once, read, listed, asked to stop."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from algodock_runner.domain.tasks import Result, StoredResult, TaskView

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncSession

    from algodock_common.database import Transaction
    from algodock_common.events import TaskState
    from algodock_runner.domain.requests import NewTask

__all__ = ["Filter", "accept", "find", "find_by_key", "listed", "lock", "request_cancel", "result_of"]

_OWN_COLUMNS = """
    t.id, t.state, t.algorithm, t.attempt, t.max_attempts, t.priority, t.idempotency_key, t.release_id, t.commit,
    t.created_at, t.not_before, t.deadline, t.started_at, t.finished_at, t.cancel_requested_at,
    t.result_key, t.result_content_type, t.result_bytes, t.error, t.metadata
"""

_VIEW = f"""
SELECT {_OWN_COLUMNS},
    CASE WHEN t.callback_url IS NOT NULL THEN coalesce(c.state, 'pending') END AS callback_state,
    coalesce(c.attempts, 0) AS callback_attempts
FROM tasks t LEFT JOIN callbacks c ON c.task_id = t.id
"""  # noqa: S608  # only constants of this module

_ACCEPT = sa.text(f"""
INSERT INTO tasks AS t (id, owner, algorithm, state, priority, max_attempts, timeout_s, not_before, deadline,
    expires_at, wakes_at, queued_at,
    idempotency_key, request_hash, body, body_key, content_type, callback_url, metadata, traceparent)
SELECT :id, :owner, :algorithm, CASE WHEN later THEN 'accepted' ELSE 'queued' END, :priority, :max_attempts,
    CAST(:timeout_s AS double precision), begins, ends,
    coalesce(ends, greatest(now(), begins) + make_interval(secs => :longest_wait_s)),
    CASE WHEN later THEN begins END, CASE WHEN NOT later THEN now() END,
    :idempotency_key, :request_hash, CAST(:body AS bytea), :body_key, :content_type, :callback_url,
    CAST(:metadata AS jsonb), :traceparent
FROM (
    SELECT begins, ends, coalesce(begins > now(), false) AS later
    FROM (SELECT CAST(:not_before AS timestamptz) AS begins, CAST(:deadline AS timestamptz) AS ends) AS given
) AS times
ON CONFLICT (owner, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
RETURNING {_OWN_COLUMNS},
    CASE WHEN t.callback_url IS NOT NULL THEN 'pending' END AS callback_state, 0 AS callback_attempts
""")  # noqa: S608  # as above

_FIND = sa.text(_VIEW + "WHERE t.id = :id AND (CAST(:owner AS text) IS NULL OR t.owner = :owner)")

_FIND_BY_KEY = sa.text(
    _VIEW.replace("SELECT", "SELECT t.request_hash,", 1) + "WHERE t.owner = :owner AND t.idempotency_key = :key"
)

_RESULT = sa.text("""
SELECT state, result_key, result_content_type, result_bytes, result_inline, error FROM tasks
WHERE id = :id AND (CAST(:owner AS text) IS NULL OR owner = :owner)
""")

_LOCK = sa.text("""
SELECT state, attempt FROM tasks WHERE id = :id AND (CAST(:owner AS text) IS NULL OR owner = :owner) FOR UPDATE
""")

_REQUEST_CANCEL = sa.text("UPDATE tasks SET cancel_requested_at = coalesce(cancel_requested_at, now()) WHERE id = :id")


@dataclass(frozen=True, slots=True)
class Filter:
    """Which tasks to list; ``owner`` None: everybody's. ``after`` is the last id of the page before."""

    owner: str | None = None
    algorithm: str | None = None
    state: TaskState | None = None
    after: UUID | None = None
    limit: int = 50


async def accept(
    tx: Transaction, task: NewTask, *, body_key: str | None, longest_wait_s: float, gateway_url: str
) -> TaskView | None:
    """Write the row that is the acceptance; None when the caller's idempotency key has one already.

    Of parallel calls with one key the database lets one in; the others wait for its commit. The
    body goes into the row unless ``body_key`` says where it lies.
    """
    row = (
        (
            await tx.session.execute(
                _ACCEPT,
                {
                    "id": task.id,
                    "owner": task.owner,
                    "algorithm": task.algorithm,
                    "priority": task.priority,
                    "max_attempts": task.max_attempts,
                    "timeout_s": task.timeout_s,
                    "not_before": task.not_before,
                    "deadline": task.deadline,
                    "longest_wait_s": longest_wait_s,
                    "idempotency_key": task.idempotency_key,
                    "request_hash": task.request_hash,
                    "body": None if body_key else task.body,
                    "body_key": body_key,
                    "content_type": task.content_type,
                    "callback_url": task.callback_url,
                    "metadata": json.dumps(task.metadata),
                    "traceparent": task.traceparent,
                },
            )
        )
        .mappings()
        .first()
    )
    return None if row is None else TaskView.of(row, gateway_url=gateway_url)


async def find(session: AsyncSession, task_id: UUID, *, owner: str | None, gateway_url: str) -> TaskView | None:
    """Return the task, or None when there is none that ``owner`` (None: anybody) may see."""
    row = (await session.execute(_FIND, {"id": task_id, "owner": owner})).mappings().first()
    return None if row is None else TaskView.of(row, gateway_url=gateway_url)


async def find_by_key(
    session: AsyncSession, *, owner: str, key: str, gateway_url: str
) -> tuple[TaskView, bytes] | None:
    """Return the task that ``owner`` made with this idempotency key, and the hash of its request."""
    row = (await session.execute(_FIND_BY_KEY, {"owner": owner, "key": key})).mappings().first()
    return None if row is None else (TaskView.of(row, gateway_url=gateway_url), bytes(row["request_hash"]))


async def listed(session: AsyncSession, wanted: Filter, *, gateway_url: str) -> list[TaskView]:
    """Return a page of tasks, newest first."""
    conditions = {
        "owner": "t.owner = :owner",
        "algorithm": "t.algorithm = :algorithm",
        "state": "t.state = :state",
        "after": "t.id < :after",
    }
    values = {name: getattr(wanted, name) for name in conditions if getattr(wanted, name) is not None}
    where = " AND ".join(conditions[name] for name in values) or "true"
    statement = sa.text(f"{_VIEW} WHERE {where} ORDER BY t.id DESC LIMIT :limit")
    rows = await session.execute(statement, values | {"limit": wanted.limit})
    return [TaskView.of(row, gateway_url=gateway_url) for row in rows.mappings()]


async def result_of(session: AsyncSession, task_id: UUID, *, owner: str | None) -> Result | None:
    """Return where the result lies and how the task stands; None when there is no such task."""
    row = (await session.execute(_RESULT, {"id": task_id, "owner": owner})).mappings().first()
    if row is None:
        return None
    stored = row["result_key"] and StoredResult(
        key=row["result_key"],
        content_type=row["result_content_type"],
        size=row["result_bytes"],
        inline=row["result_inline"],
    )
    return Result(row["state"], stored or None, row["error"])


async def lock(tx: Transaction, task_id: UUID, *, owner: str | None) -> tuple[TaskState, int] | None:
    """Lock the task's row; return its state and attempt."""
    row = (await tx.session.execute(_LOCK, {"id": task_id, "owner": owner})).first()
    return None if row is None else (row.state, row.attempt)


async def request_cancel(tx: Transaction, task_id: UUID) -> None:
    """Note that the task is to stop; the worker that runs it, or the reconciler, ends it."""
    await tx.session.execute(_REQUEST_CANCEL, {"id": task_id})
