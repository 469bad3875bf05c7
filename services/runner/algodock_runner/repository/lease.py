"""The lease: a worker keeps what it claimed only while it says so, by the database's clock."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Mapping

    from algodock_common.database import Writer

__all__ = ["cancel_requests", "renew"]

_RENEW = sa.text("""
UPDATE tasks SET lease_until = now() + make_interval(secs => :lease_s)
FROM unnest(CAST(:ids AS uuid[]), CAST(:attempts AS int[])) AS held (id, attempt)
WHERE tasks.id = held.id AND tasks.attempt = held.attempt AND tasks.state = 'running'
RETURNING tasks.id
""")

_CANCEL_REQUESTS = sa.text("""
SELECT id FROM tasks
WHERE id = ANY(CAST(:ids AS uuid[])) AND cancel_requested_at IS NOT NULL AND finished_at IS NULL
""")


async def renew(to: Writer, held: Mapping[UUID, int], *, lease_s: float) -> set[UUID]:
    """Extend the leases of ``held`` (task to attempt) and return those that are still held; the rest is lost."""
    rows = await to.fetch(_RENEW, {"ids": list(held), "attempts": list(held.values()), "lease_s": lease_s})
    return {UUID(int=row["id"].int) for row in rows}


async def cancel_requests(to: Writer, ids: list[UUID]) -> list[UUID]:
    """Return those of ``ids`` whose owner asked to cancel them."""
    return [UUID(int=row["id"].int) for row in await to.fetch(_CANCEL_REQUESTS, {"ids": ids})]
