"""``service_secrets``: encrypted values by algorithm and name."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from algodock_deployer.repository.tables import service_secrets as table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncSession

__all__ = ["SealedSecret", "Secrets"]


@dataclass(frozen=True)
class SealedSecret:
    """A secret as it is kept; ``size`` is that of its value in bytes."""

    id: UUID
    name: str
    sealed: bytes
    size: int
    set_by: str
    set_at: datetime


class Secrets:
    """Reads and writes secrets in the caller's transaction."""

    def __init__(self, session: AsyncSession) -> None:
        """Use ``session``."""
        self._session = session

    async def hold(self, algorithm_id: UUID) -> None:
        """Let nobody else change the algorithm's secrets until the transaction ends."""
        name = sa.func.hashtextextended(f"secrets/{algorithm_id}", 0)
        await self._session.execute(sa.select(sa.func.pg_advisory_xact_lock(name)))

    async def of(self, algorithm_id: UUID) -> Sequence[SealedSecret]:
        """Return an algorithm's secrets, by name."""
        columns = (table.c.id, table.c.name, table.c.sealed, table.c.size, table.c.set_by, table.c.set_at)
        query = sa.select(*columns).where(table.c.algorithm_id == algorithm_id).order_by(table.c.name)
        return [SealedSecret(**row._asdict()) for row in await self._session.execute(query)]

    async def put(  # a row
        self, algorithm_id: UUID, name: str, *, row: UUID, sealed: bytes, size: int, actor: str
    ) -> None:
        """Keep a secret in place of the one of that name."""
        values = {"id": row, "sealed": sealed, "size": size, "set_by": actor, "set_at": sa.func.now()}
        statement = insert(table).values(algorithm_id=algorithm_id, name=name, **values)
        await self._session.execute(
            statement.on_conflict_do_update(index_elements=["algorithm_id", "name"], set_=values)
        )

    async def remove(self, algorithm_id: UUID, name: str | None = None) -> int:
        """Forget a secret, or all of an algorithm; return how many."""
        statement = sa.delete(table).where(table.c.algorithm_id == algorithm_id)
        if name is not None:
            statement = statement.where(table.c.name == name)
        return len((await self._session.execute(statement.returning(table.c.id))).all())
