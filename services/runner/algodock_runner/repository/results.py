"""Results whose objects are not written yet: found after a crash, and noted when they are there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from algodock_runner.domain.tasks import Unstored, is_small_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from algodock_common.database import Transaction, Writer

__all__ = ["stored", "unstored"]

_UNSTORED = sa.text("""
SELECT id AS task_id, result_key AS key, result_content_type AS content_type, result_inline AS data FROM tasks
WHERE result_key IS NOT NULL AND result_stored_at IS NULL AND result_removed_at IS NULL
    AND finished_at < now() - make_interval(secs => :older_than_s)
ORDER BY finished_at LIMIT :limit FOR UPDATE SKIP LOCKED
""")

_STORED = sa.text("""
WITH lazily AS (SELECT set_config('synchronous_commit', 'off', true))
UPDATE tasks SET result_stored_at = now(), result_inline = CASE WHEN s.small THEN result_inline END
FROM lazily, unnest(CAST(:ids AS uuid[]), CAST(:small AS bool[])) AS s (id, small)
WHERE tasks.id = s.id AND result_key IS NOT NULL AND result_stored_at IS NULL
""")


async def unstored(tx: Transaction, *, older_than_s: float, limit: int) -> list[Unstored]:
    """Lock and return results that were committed more than ``older_than_s`` seconds ago and are in no object yet."""
    rows = await tx.session.execute(_UNSTORED, {"older_than_s": older_than_s, "limit": limit})
    return [Unstored(**row) for row in rows.mappings()]


async def stored(to: Writer, written: Sequence[Unstored]) -> None:
    """Note that their objects are there; of their bytes the rows keep what is small JSON.

    A note that a crash of PostgreSQL loses costs another write of the same object.
    """
    if written:
        small = [is_small_json(one.content_type, one.data) for one in written]
        await to.fetch(_STORED, {"ids": [one.task_id for one in written], "small": small})
