"""Callbacks that are due: claimed with a lease of their own, ended by who names the attempt.

One statement for all that a sender has room for, one for all that it has delivered.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import sqlalchemy as sa

from algodock_runner.repository.fence import finished_event

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from algodock_common.database import Transaction
    from algodock_common.events import TaskFinished
    from algodock_runner.domain.callbacks import Delivery

__all__ = ["Claimed", "DueCallback", "claim_callbacks", "record"]

_CLAIM = sa.text("""
WITH RECURSIVE targets AS (
    (SELECT target FROM callbacks WHERE state = 'pending' ORDER BY target LIMIT 1)
    UNION ALL
    SELECT (
        SELECT c.target FROM callbacks AS c WHERE c.state = 'pending' AND c.target > t.target
        ORDER BY c.target LIMIT 1
    ) FROM targets AS t WHERE t.target IS NOT NULL
), candidates AS (
    SELECT due.*, row_number() OVER (PARTITION BY targets.target ORDER BY due.next_at) AS turn
    FROM targets
    LEFT JOIN unnest(CAST(:targets AS text[]), CAST(:free AS int[])) AS known (target, free)
        ON known.target = targets.target
    CROSS JOIN LATERAL (
        SELECT task_id, owner, url, next_at FROM callbacks AS c
        WHERE c.state = 'pending' AND c.target = targets.target AND c.next_at <= now()
        ORDER BY c.next_at
        LIMIT coalesce(known.free, CAST(:others AS int))
        FOR UPDATE SKIP LOCKED
    ) AS due
    WHERE targets.target IS NOT NULL
), picked AS (
    SELECT best.task_id, off.reason
    FROM (SELECT * FROM candidates ORDER BY turn, next_at LIMIT :room) AS best
    LEFT JOIN callback_targets AS off ON off.owner = best.owner AND off.url = best.url
)
UPDATE callbacks AS c SET
    attempts = c.attempts + CASE WHEN picked.reason IS NULL THEN 1 ELSE 0 END,
    leased = picked.reason IS NULL,
    next_at = now() + make_interval(secs => :lease_s),
    state = CASE WHEN picked.reason IS NULL THEN 'pending' ELSE 'disabled' END,
    ended_at = CASE WHEN picked.reason IS NULL THEN NULL ELSE now() END,
    last_error = CASE WHEN picked.reason IS NULL THEN c.last_error ELSE picked.reason END
FROM picked, tasks AS t WHERE c.task_id = picked.task_id AND t.id = c.task_id
RETURNING c.url, c.owner, c.target, c.attempts, c.round_began, c.leased,
    t.id, t.idempotency_key, t.state, t.algorithm, t.release_id, t.commit,
    t.attempt, t.result_key, t.result_content_type, t.result_bytes, t.result_inline, t.error, t.metadata,
    t.finished_at, t.traceparent
""")

_RECORD = sa.text("""
WITH delivered AS (
    SELECT * FROM unnest(
        CAST(:ids AS uuid[]), CAST(:attempts AS int[]), CAST(:states AS text[]), CAST(:waits AS float8[]),
        CAST(:statuses AS int[]), CAST(:errors AS text[]), CAST(:answers AS text[]), CAST(:spent AS bool[]),
        CAST(:ages AS float8[]), CAST(:durations AS float8[])
    ) AS d (task_id, attempt, state, wait_s, status, error, answer, spent, age_s, duration_s)
), told AS (
    UPDATE callbacks AS c SET
        state = d.state, leased = false, attempts = c.attempts - CASE WHEN d.spent THEN 0 ELSE 1 END,
        next_at = now() + make_interval(secs => d.wait_s),
        last_status = CASE WHEN d.spent THEN d.status ELSE c.last_status END, last_error = d.error,
        ended_at = CASE WHEN d.state <> 'pending' THEN now() END
    FROM delivered AS d WHERE c.task_id = d.task_id AND c.attempts = d.attempt AND c.state = 'pending'
    RETURNING c.task_id, c.owner, c.url, c.target, c.state, CASE WHEN c.state = 'pending' THEN c.next_at END AS next_at
), logged AS (
    INSERT INTO callback_deliveries (task_id, attempt, started_at, duration_ms, status, error, answer, next_at)
    SELECT d.task_id, d.attempt, now() - make_interval(secs => d.age_s), 1000 * d.duration_s,
        d.status, d.error, d.answer, told.next_at
    FROM delivered AS d JOIN callbacks AS c ON c.task_id = d.task_id LEFT JOIN told ON told.task_id = d.task_id
    WHERE d.spent
    ON CONFLICT (task_id, attempt) DO NOTHING
), disabled AS (
    INSERT INTO callback_targets (owner, url, reason)
    SELECT DISTINCT owner, url, :reason FROM told WHERE state = 'disabled'
    ON CONFLICT (owner, url) DO NOTHING
)
SELECT owner, url, target FROM told WHERE state = 'disabled'
""")

_DISABLE = sa.text("""
UPDATE callbacks SET state = 'disabled', ended_at = now(), last_error = :reason
WHERE target = :target AND owner = :owner AND url = :url AND state = 'pending' AND NOT leased
""")

_TRIM = sa.text("""
DELETE FROM callback_deliveries AS old USING unnest(CAST(:ids AS uuid[]), CAST(:attempts AS int[])) AS d (id, attempt)
WHERE old.task_id = d.id AND old.attempt <= d.attempt - :rows
""")

GONE = "the address answered 410 (gone) and is disabled"


@dataclass(frozen=True, slots=True)
class DueCallback:
    """A callback to deliver now, for the ``attempts``-th time, the ``tries``-th of its round."""

    task_id: UUID
    owner: str
    url: str
    target: str
    attempts: int
    tries: int
    traceparent: str | None
    event: TaskFinished = field(repr=False)


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a claim found: callbacks to deliver, and how many rows it took (those of disabled addresses, too)."""

    due: list[DueCallback]
    rows: int


async def claim_callbacks(  # the parts of one claim
    tx: Transaction, *, room: int, free: Mapping[str, int], others: int, lease_s: float, gateway_url: str
) -> Claimed:
    """Take up to ``room`` due callbacks, of one target at most ``free``, or ``others`` where that names none.

    Targets take turns. One whose sender dies is due again after ``lease_s`` seconds. Those of a
    disabled address end here.
    """
    given = {"targets": list(free), "free": list(free.values()), "others": others, "room": room, "lease_s": lease_s}
    rows = (await tx.session.execute(_CLAIM, given)).mappings().all()
    due = [
        DueCallback(
            task_id=row["id"],
            owner=row["owner"],
            url=row["url"],
            target=row["target"],
            attempts=row["attempts"],
            tries=row["attempts"] - row["round_began"],
            traceparent=row["traceparent"],
            event=finished_event(row, gateway_url),
        )
        for row in rows
        if row["leased"]
    ]
    return Claimed(due, len(rows))


async def record(tx: Transaction, deliveries: Sequence[Delivery], *, log_rows: int) -> None:
    """Write what became of deliveries; a stale sender's word changes nothing but the log.

    An address that answered 410 is disabled: what is pending for it ends, and what later tasks would
    send there, until its owner enables it again. Of a callback ``log_rows`` deliveries are kept.
    """
    if not deliveries:
        return
    now = time.monotonic()
    given = {
        "ids": [one.task_id for one in deliveries],
        "attempts": [one.attempts for one in deliveries],
        "states": [one.verdict.state for one in deliveries],
        "waits": [one.verdict.wait_s for one in deliveries],
        "statuses": [one.answer.status for one in deliveries],
        "errors": [one.answer.error or None for one in deliveries],
        "answers": [one.answer.said for one in deliveries],
        "spent": [one.spent for one in deliveries],
        "ages": [now - one.began_s for one in deliveries],
        "durations": [one.took_s for one in deliveries],
        "reason": GONE,
    }
    for gone in (await tx.session.execute(_RECORD, given)).mappings().all():
        await tx.session.execute(_DISABLE, dict(gone) | {"reason": GONE})
    many = [one for one in deliveries if one.attempts > log_rows]
    if many:
        kept = {"ids": [one.task_id for one in many], "attempts": [one.attempts for one in many], "rows": log_rows}
        await tx.session.execute(_TRIM, kept)
