"""The lease: a worker keeps what it claimed only while it says so, by the database's clock."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import sqlalchemy as sa

from algodock_runner.repository.fence import Served

if TYPE_CHECKING:
    from collections.abc import Mapping

    from algodock_common.database import Writer

__all__ = ["cancel_requests", "renew"]

_RENEW = sa.text("""
UPDATE tasks SET
    lease_until = now() + make_interval(secs => :lease_s),
    instance_id = coalesce(held.instance_id, tasks.instance_id),
    release_id = CASE WHEN held.instance_id IS NULL THEN tasks.release_id ELSE held.release_id END,
    commit = CASE WHEN held.instance_id IS NULL THEN tasks.commit ELSE held.commit END,
    config_version = CASE WHEN held.instance_id IS NULL THEN tasks.config_version ELSE held.config_version END
FROM unnest(
    CAST(:ids AS uuid[]), CAST(:attempts AS int[]), CAST(:instance_ids AS uuid[]), CAST(:release_ids AS uuid[]),
    CAST(:commits AS text[]), CAST(:config_versions AS bigint[])
) AS held (id, attempt, instance_id, release_id, commit, config_version)
WHERE tasks.id = held.id AND tasks.attempt = held.attempt AND tasks.state = 'running'
RETURNING tasks.id
""")

_CANCEL_REQUESTS = sa.text("""
SELECT id FROM tasks
WHERE id = ANY(CAST(:ids AS uuid[])) AND cancel_requested_at IS NOT NULL AND finished_at IS NULL
""")


async def renew(
    to: Writer, held: Mapping[UUID, int], *, lease_s: float, by: Mapping[UUID, Served] | None = None
) -> set[UUID]:
    """Extend the leases of ``held`` (task to attempt) and return those that are still held; the rest is lost.

    ``by`` says who serves them: who looks at a task that runs for long reads it, and so does who
    finds it when its worker is gone.
    """
    served = [(by or {}).get(id_, Served()) for id_ in held]
    rows = await to.fetch(
        _RENEW,
        {
            "ids": list(held),
            "attempts": list(held.values()),
            "instance_ids": [one.instance_id for one in served],
            "release_ids": [one.release_id for one in served],
            "commits": [one.commit for one in served],
            "config_versions": [one.config_version for one in served],
            "lease_s": lease_s,
        },
    )
    return {UUID(int=row["id"].int) for row in rows}


async def cancel_requests(to: Writer, ids: list[UUID]) -> list[UUID]:
    """Return those of ``ids`` whose owner asked to cancel them."""
    return [UUID(int=row["id"].int) for row in await to.fetch(_CANCEL_REQUESTS, {"ids": ids})]
