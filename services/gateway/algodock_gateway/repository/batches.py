"""Batches: a row a command to many services, with what became of each as far as it is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from algodock_gateway.domain.batches import Batch, BatchResult
from algodock_gateway.repository.tables import batches

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncSession

__all__ = ["Batches"]


class Batches:
    """Batches within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        """Work in ``session``."""
        self._session = session

    async def add(self, batch: Batch) -> None:
        """Write a new batch."""
        values = {"id": batch.id, "action": batch.action, "actor": batch.actor, "results": _results(batch)}
        await self._session.execute(sa.insert(batches).values(values))

    async def get(self, batch_id: UUID) -> Batch | None:
        """Return one batch as it was last written."""
        row = (await self._session.execute(sa.select(batches).where(batches.c.id == batch_id))).first()
        if row is None:
            return None
        results = [BatchResult.model_validate(one) for one in row.results]
        return Batch(row.id, row.action, row.actor, results, row.created_at)

    async def keep(self, batch: Batch) -> None:
        """Write down what is known of its results by now."""
        statement = sa.update(batches).where(batches.c.id == batch.id)
        await self._session.execute(statement.values(results=_results(batch)))


def _results(batch: Batch) -> list[dict[str, object]]:
    return [one.model_dump(mode="json") for one in batch.results]
