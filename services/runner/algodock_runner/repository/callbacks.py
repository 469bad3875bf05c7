"""Callbacks that are due: claimed with a lease of their own, ended by who names the attempt."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import sqlalchemy as sa

from algodock_runner.repository.fence import finished_event

if TYPE_CHECKING:
    from uuid import UUID

    from algodock_common.database import Transaction
    from algodock_common.events import TaskFinished
    from algodock_runner.domain.callbacks import Answer, Verdict

__all__ = ["DueCallback", "claim_callbacks", "postpone", "record"]

_CLAIM = sa.text("""
WITH due AS (
    SELECT task_id FROM callbacks WHERE state = 'pending' AND next_at <= now()
    ORDER BY next_at LIMIT :room FOR UPDATE SKIP LOCKED
)
UPDATE callbacks AS c SET attempts = c.attempts + 1, next_at = now() + make_interval(secs => :lease_s)
FROM due, tasks AS t WHERE c.task_id = due.task_id AND t.id = c.task_id
RETURNING c.url, c.owner, c.attempts, t.id, t.idempotency_key, t.state, t.algorithm, t.release_id, t.commit,
    t.attempt, t.result_key, t.result_content_type, t.result_bytes, t.result_inline, t.error, t.metadata,
    t.finished_at, t.traceparent
""")

_RECORD = sa.text("""
UPDATE callbacks SET
    state = :state, next_at = now() + make_interval(secs => :wait_s),
    last_status = :status, last_error = :error, ended_at = CASE WHEN :state <> 'pending' THEN now() END
WHERE task_id = :task_id AND attempts = :attempts AND state = 'pending'
RETURNING owner, url
""")

_DISABLE = sa.text("""
UPDATE callbacks SET state = 'disabled', ended_at = now(), last_error = 'the address said that it is gone'
WHERE owner = :owner AND url = :url AND state = 'pending'
""")

_POSTPONE = sa.text("""
UPDATE callbacks SET attempts = attempts - 1, next_at = now() + make_interval(secs => :wait_s), last_error = :error
WHERE task_id = :task_id AND attempts = :attempts AND state = 'pending'
""")


@dataclass(frozen=True, slots=True)
class DueCallback:
    """A callback to deliver now, for the ``attempts``-th time."""

    task_id: UUID
    owner: str
    url: str
    attempts: int
    traceparent: str | None
    event: TaskFinished = field(repr=False)


async def claim_callbacks(tx: Transaction, *, room: int, lease_s: float, gateway_url: str) -> list[DueCallback]:
    """Take up to ``room`` due callbacks; one whose sender dies is due again after ``lease_s`` seconds."""
    rows = await tx.session.execute(_CLAIM, {"room": room, "lease_s": lease_s})
    return [
        DueCallback(
            task_id=row["id"],
            owner=row["owner"],
            url=row["url"],
            attempts=row["attempts"],
            traceparent=row["traceparent"],
            event=finished_event(row, gateway_url),
        )
        for row in rows.mappings()
    ]


async def record(tx: Transaction, due: DueCallback, answer: Answer, verdict: Verdict) -> None:
    """Write what became of a delivery; a stale sender's word changes nothing.

    An address that answered 410 gets none of what is still pending for it; a task that names it
    later is a new wish and is tried again.
    """
    written = await tx.session.execute(
        _RECORD,
        {
            "task_id": due.task_id,
            "attempts": due.attempts,
            "state": verdict.state,
            "wait_s": verdict.wait_s,
            "status": answer.status,
            "error": answer.error or None,
        },
    )
    row = written.first()
    if row is not None and verdict.state == "disabled":
        await tx.session.execute(_DISABLE, {"owner": row.owner, "url": row.url})


async def postpone(tx: Transaction, due: DueCallback, *, wait_s: float, error: str) -> None:
    """Put a callback back that could not be tried for a reason of our own; the attempt is not spent."""
    await tx.session.execute(
        _POSTPONE, {"task_id": due.task_id, "attempts": due.attempts, "wait_s": wait_s, "error": error}
    )
