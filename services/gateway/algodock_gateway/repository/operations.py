"""Operations: a row for each command, ended by the deployer's events."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from algodock_gateway.domain.operations import Operation
from algodock_gateway.repository.tables import operations

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncSession

    from algodock_gateway.domain.operations import Ended

__all__ = ["Operations"]


class Operations:
    """Operations within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        """Work in ``session``."""
        self._session = session

    async def add(self, operation: Operation) -> bool:
        """Write a new, accepted operation; False when it was accepted before."""
        statement = insert(operations).values(
            id=operation.id,
            algorithm_id=operation.algorithm_id,
            action=operation.action,
            arguments=operation.arguments,
            actor=operation.actor,
        )
        unless_known = statement.on_conflict_do_nothing(index_elements=[operations.c.id]).returning(operations.c.id)
        return (await self._session.execute(unless_known)).first() is not None

    async def end(self, algorithm_id: UUID, ended: Ended) -> int:
        """End the algorithm's waiting operations that an event ends; return how many."""
        statement = (
            sa.update(operations)
            .where(
                operations.c.algorithm_id == algorithm_id,
                operations.c.state == "accepted",
                operations.c.action.in_(sorted(ended.actions)),
            )
            .values(state=ended.state, reason=ended.reason, finished_at=sa.func.now())
            .returning(operations.c.id)
        )
        return len((await self._session.execute(statement)).all())

    async def latest(self, algorithm_id: UUID) -> Operation | None:
        """Return the algorithm's newest operation."""
        columns = operations.c
        query = (
            sa.select(
                columns.id,
                columns.algorithm_id,
                columns.action,
                columns.arguments,
                columns.actor,
                columns.state,
                columns.reason,
            )
            .where(columns.algorithm_id == algorithm_id)
            .order_by(columns.id.desc())
            .limit(1)
        )
        row = (await self._session.execute(query)).first()
        return None if row is None else Operation(*row)
