"""Callbacks as their owners see them: read, made due again, their addresses enabled again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from algodock_runner.domain.callback_views import CallbackDetail, CallbackSummary, DeliveryView, DisabledTarget

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncSession

    from algodock_common.database import Transaction
    from algodock_runner.domain.callback_views import CallbackFilter

__all__ = ["disabled", "disabled_reason", "enable", "find", "listed", "redeliver"]

_FIND = sa.text("""
SELECT t.id AS task_id, t.algorithm, t.callback_url AS url, coalesce(c.state, 'pending') AS state,
    coalesce(c.attempts, 0) AS attempts, CASE WHEN c.state = 'pending' THEN c.next_at END AS next_at,
    c.last_status, c.last_error, c.created_at, c.ended_at
FROM tasks AS t LEFT JOIN callbacks AS c ON c.task_id = t.id
WHERE t.id = :task_id AND t.callback_url IS NOT NULL AND (CAST(:owner AS text) IS NULL OR t.owner = :owner)
""")

_DELIVERIES = sa.text("""
SELECT attempt, started_at, duration_ms, status, error, answer, next_at FROM callback_deliveries
WHERE task_id = :task_id ORDER BY attempt DESC
""")

_WHERE = {
    "owner": "c.owner = :owner",
    "state": "c.state = :state",
    "algorithm": "t.algorithm = :algorithm",
    "url": "c.url = :url",
    "since": "c.ended_at >= :since",
    "until": "c.ended_at < :until",
    "after": "c.task_id < :after",
}

_LISTED = """
SELECT c.task_id, t.algorithm, c.url, c.state, c.attempts, CASE WHEN c.state = 'pending' THEN c.next_at END AS next_at,
    c.last_status, c.last_error, c.created_at, c.ended_at
FROM callbacks AS c JOIN tasks AS t ON t.id = c.task_id
WHERE {where} ORDER BY c.task_id DESC LIMIT :limit
"""

_REDELIVER = """
WITH wanted AS (
    SELECT c.task_id FROM callbacks AS c JOIN tasks AS t ON t.id = c.task_id
    WHERE {where} AND NOT c.leased
        AND NOT EXISTS (SELECT 1 FROM callback_targets AS off WHERE off.owner = c.owner AND off.url = c.url)
    ORDER BY c.task_id DESC LIMIT :limit
    FOR UPDATE OF c SKIP LOCKED
)
UPDATE callbacks AS c SET state = 'pending', round_began = c.attempts, next_at = now(), ended_at = NULL
FROM wanted WHERE c.task_id = wanted.task_id
RETURNING c.task_id
"""

_REASON = sa.text("""
SELECT off.reason FROM callbacks AS c JOIN callback_targets AS off ON off.owner = c.owner AND off.url = c.url
WHERE c.task_id = :task_id
""")

_DISABLED = sa.text("""
SELECT url, disabled_at, reason FROM callback_targets
WHERE CAST(:owner AS text) IS NULL OR owner = :owner
ORDER BY disabled_at DESC LIMIT :limit
""")

_ENABLE = sa.text("""
DELETE FROM callback_targets WHERE url = :url AND (CAST(:owner AS text) IS NULL OR owner = :owner) RETURNING url
""")


async def find(session: AsyncSession, task_id: UUID, *, owner: str | None) -> CallbackDetail | None:
    """Return a task's callback with its log; None: there is no such task, or it was submitted without one."""
    row = (await session.execute(_FIND, {"task_id": task_id, "owner": owner})).mappings().first()
    if row is None:
        return None
    log = [DeliveryView(**one) for one in (await session.execute(_DELIVERIES, {"task_id": task_id})).mappings()]
    return CallbackDetail(**row, deliveries=log)


async def listed(session: AsyncSession, wanted: CallbackFilter) -> list[CallbackSummary]:
    """Return callbacks of tasks that ended, the newest task first."""
    where, given = _where(wanted)
    rows = await session.execute(sa.text(_LISTED.format(where=where)), given)
    return [CallbackSummary(**row) for row in rows.mappings()]


async def redeliver(tx: Transaction, wanted: CallbackFilter, *, task_id: UUID | None = None) -> int:
    """Make callbacks due now, their schedule from its beginning; return how many that were.

    What is on its way at this moment, or goes to a disabled address, is left as it is.
    """
    where, given = _where(wanted)
    if task_id is not None:
        where, given = f"{where} AND c.task_id = :task_id", given | {"task_id": task_id}
    rows = await tx.session.execute(sa.text(_REDELIVER.format(where=where)), given)
    return len(rows.all())


async def disabled_reason(session: AsyncSession, task_id: UUID) -> str | None:
    """Return why the address of a task's callback is disabled; None: it is not."""
    reason: str | None = (await session.execute(_REASON, {"task_id": task_id})).scalar_one_or_none()
    return reason


async def disabled(session: AsyncSession, *, owner: str | None, limit: int) -> list[DisabledTarget]:
    """Return disabled addresses, the last disabled first."""
    rows = await session.execute(_DISABLED, {"owner": owner, "limit": limit})
    return [DisabledTarget(**row) for row in rows.mappings()]


async def enable(tx: Transaction, url: str, *, owner: str | None) -> bool:
    """Let callbacks go to an address again; say whether it was disabled."""
    return bool((await tx.session.execute(_ENABLE, {"url": url, "owner": owner})).all())


def _where(wanted: CallbackFilter) -> tuple[str, dict[str, Any]]:
    given = {name: value for name, value in wanted.model_dump().items() if value is not None}
    return " AND ".join(["true", *(_WHERE[name] for name in given if name in _WHERE)]), given
