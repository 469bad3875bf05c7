"""The algorithms that tasks may name, as the gateway tells of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import sqlalchemy as sa

from algodock_runner.domain.algorithms import KnownAlgorithm

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncSession

    from algodock_common.database import Transaction

__all__ = ["find_algorithms", "remember"]

_REMEMBER = sa.text("""
INSERT INTO algorithms AS a (id, name, state, owner, limits)
VALUES (:id, :name, :state, :owner, CAST(:limits AS jsonb))
ON CONFLICT (name) DO UPDATE SET
    id = excluded.id, state = excluded.state, owner = excluded.owner, limits = excluded.limits, changed_at = now(),
    limits_due = a.limits_due OR a.limits <> excluded.limits
WHERE (a.id, a.state, a.owner, a.limits) IS DISTINCT FROM
    (excluded.id, excluded.state, excluded.owner, excluded.limits)
""")

_FIND = sa.text("""
SELECT id, name, state, owner, limits FROM algorithms
WHERE name = ANY(CAST(:names AS text[])) OR id = ANY(CAST(:ids AS uuid[]))
""")


async def remember(tx: Transaction, algorithms: Iterable[KnownAlgorithm]) -> None:
    """Write algorithms as they stand now."""
    for one in algorithms:
        values = {"id": one.id, "name": one.name, "state": one.state, "owner": one.owner}
        await tx.session.execute(_REMEMBER, values | {"limits": json.dumps(dict(one.limits))})


async def find_algorithms(session: AsyncSession, names: Sequence[str], ids: Sequence[UUID]) -> list[KnownAlgorithm]:
    """Return the algorithms with these names and ids."""
    rows = await session.execute(_FIND, {"names": names, "ids": ids})
    return [KnownAlgorithm(**row) for row in rows.mappings()]
