"""What is kept of tasks, and how long: results by age and quota, old tasks whole, objects that no task names.

Rows are claimed with SKIP LOCKED and in bounded batches. A row says that something is gone before
its object is removed: what a crash leaves in between is an object that no task names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from algodock_common.database import Transaction

__all__ = [
    "BATCH",
    "Old",
    "apply_limits",
    "beyond_quota",
    "expired",
    "expires",
    "limits_applied",
    "limits_due",
    "named",
    "old",
    "with_quota",
]

BATCH = 200


def expires(finished_at: str) -> str:
    """Return the SQL of a result's expiry by its algorithm's limits, from the SQL of when its task finished."""
    return f"""CASE WHEN limits ? 'result_ttl_s'
        THEN {finished_at} + make_interval(secs => CAST(limits->>'result_ttl_s' AS double precision))
        WHEN limits ? 'result_quota_bytes' THEN 'infinity' END"""


_DUE = sa.text("SELECT name, CAST(limits AS text) AS limits FROM algorithms WHERE limits_due ORDER BY name LIMIT 1")

_APPLY = sa.text(f"""
WITH batch AS (
    SELECT t.id, {expires("t.finished_at")} AS expires_at
    FROM tasks t JOIN algorithms a ON a.name = t.algorithm
    WHERE t.algorithm = :algorithm AND t.id > :after AND t.result_key IS NOT NULL AND t.result_removed_at IS NULL
    ORDER BY t.id LIMIT {BATCH} FOR UPDATE OF t SKIP LOCKED
), changed AS (
    UPDATE tasks SET result_expires_at = batch.expires_at FROM batch
    WHERE tasks.id = batch.id AND tasks.result_expires_at IS DISTINCT FROM batch.expires_at
)
SELECT id FROM batch ORDER BY id DESC LIMIT 1
""")  # noqa: S608  # constants of this module

_APPLIED = sa.text("""
UPDATE algorithms SET limits_due = false WHERE name = :algorithm AND limits = CAST(:limits AS jsonb)
""")

_EXPIRED = sa.text(f"""
WITH gone AS (
    SELECT id FROM tasks
    WHERE result_expires_at <= now() AND result_removed_at IS NULL AND result_stored_at IS NOT NULL
    ORDER BY result_expires_at LIMIT {BATCH} FOR UPDATE SKIP LOCKED
)
UPDATE tasks SET result_removed_at = now(), result_inline = NULL FROM gone WHERE tasks.id = gone.id
RETURNING result_key
""")  # noqa: S608

_WITH_QUOTA = sa.text("""
SELECT name FROM algorithms WHERE limits ? 'result_quota_bytes' ORDER BY name
""")

_BEYOND_QUOTA = sa.text(f"""
WITH kept AS (
    SELECT id, sum(result_bytes) OVER (ORDER BY id DESC) AS used FROM tasks
    WHERE algorithm = :algorithm AND result_expires_at IS NOT NULL AND result_removed_at IS NULL
), gone AS (
    SELECT id FROM tasks
    WHERE id IN (
        SELECT kept.id FROM kept, algorithms
        WHERE name = :algorithm AND used > CAST(limits->>'result_quota_bytes' AS bigint)
        ORDER BY kept.id LIMIT {BATCH}
    ) AND result_removed_at IS NULL AND result_stored_at IS NOT NULL
    FOR UPDATE SKIP LOCKED
)
UPDATE tasks SET result_removed_at = now(), result_inline = NULL FROM gone WHERE tasks.id = gone.id
RETURNING result_key
""")  # noqa: S608

_OLD = sa.text(f"""
WITH gone AS (
    SELECT id FROM tasks
    WHERE id < :before AND finished_at < now() - make_interval(secs => :keep_s)
        AND (result_key IS NULL OR result_stored_at IS NOT NULL)
        AND NOT EXISTS (SELECT 1 FROM callbacks WHERE task_id = tasks.id AND state = 'pending')
    ORDER BY id LIMIT {BATCH} FOR UPDATE SKIP LOCKED
)
DELETE FROM tasks USING gone WHERE tasks.id = gone.id
RETURNING CASE WHEN result_removed_at IS NULL THEN result_key END
""")  # noqa: S608

_NAMED = sa.text("""
SELECT key FROM unnest(CAST(:keys AS text[]), CAST(:ids AS uuid[]), CAST(:attempts AS int[])) AS o (key, id, attempt)
WHERE EXISTS (SELECT 1 FROM tasks WHERE body_key = o.key)
    OR EXISTS (
        SELECT 1 FROM tasks WHERE tasks.id = o.id AND (
            (result_key = o.key AND result_removed_at IS NULL) OR (state = 'running' AND tasks.attempt = o.attempt)
        )
    )
""")


@dataclass(frozen=True, slots=True)
class Old:
    """How many tasks were removed, and the keys of their results."""

    tasks: int
    results: list[str]


async def limits_due(tx: Transaction) -> tuple[str, str] | None:
    """Return an algorithm whose results do not know its limits yet, and these limits; None when there is none."""
    row = (await tx.session.execute(_DUE)).first()
    return None if row is None else (row.name, row.limits)


async def apply_limits(tx: Transaction, algorithm: str, after: UUID) -> UUID | None:
    """Let a batch of an algorithm's results behind ``after`` know its limits; return the last, None at the end.

    What somebody holds just now is being ended, with the limits as they are, or removed.
    """
    return (await tx.session.execute(_APPLY, {"algorithm": algorithm, "after": after})).scalar()


async def limits_applied(tx: Transaction, algorithm: str, limits: str) -> None:
    """Note that all results know ``limits``, unless they have changed meanwhile."""
    await tx.session.execute(_APPLIED, {"algorithm": algorithm, "limits": limits})


async def expired(tx: Transaction) -> list[str]:
    """Note that results past their age are gone; return their objects' keys."""
    return list((await tx.session.execute(_EXPIRED)).scalars())


async def with_quota(tx: Transaction) -> list[str]:
    """Return the algorithms whose results have a quota."""
    return list((await tx.session.execute(_WITH_QUOTA)).scalars())


async def beyond_quota(tx: Transaction, algorithm: str) -> list[str]:
    """Note that the oldest results of an algorithm are gone, down to its quota; return their objects' keys."""
    return list((await tx.session.execute(_BEYOND_QUOTA, {"algorithm": algorithm})).scalars())


async def old(tx: Transaction, *, before: UUID, keep_s: float) -> Old:
    """Remove tasks that finished more than ``keep_s`` seconds ago; ``before`` is an id of that time."""
    keys = list((await tx.session.execute(_OLD, {"before": before, "keep_s": keep_s})).scalars())
    return Old(len(keys), [key for key in keys if key is not None])


async def named(tx: Transaction, keys: Sequence[str], ids: Sequence[UUID], attempts: Sequence[int | None]) -> set[str]:
    """Return those of ``keys`` that a task names, or may name in a moment.

    ``ids`` and ``attempts`` are what each key says of the task and attempt that wrote it.
    """
    rows = await tx.session.execute(_NAMED, {"keys": list(keys), "ids": list(ids), "attempts": list(attempts)})
    return set(rows.scalars())
