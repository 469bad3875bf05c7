"""``operations``: commands as rows, so that each is done once and none is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from algodock_deployer.domain.releases import Operation
from algodock_deployer.repository.tables import operations, storable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncSession

    from algodock_common.events import ServiceCommand

__all__ = ["Operations"]

_COLUMNS = tuple(column for column in operations.c if column.name not in {"created_at", "finished_at"})


class Operations:
    """Reads and writes operations in the caller's transaction."""

    def __init__(self, session: AsyncSession) -> None:
        """Use ``session``."""
        self._session = session

    async def add(self, command: ServiceCommand, traceparent: str | None) -> bool:
        """Keep a command; return whether it is new."""
        words = {name: storable(one) if isinstance(one, str) else one for name, one in command.arguments.items()}
        statement = insert(operations).values(
            id=command.operation_id,
            service_id=command.algorithm_id,
            action=command.action,
            arguments=words,
            actor=command.actor,
            traceparent=traceparent,
        )
        statement = statement.on_conflict_do_nothing(index_elements=[operations.c.id])
        return (await self._session.execute(statement.returning(operations.c.id))).first() is not None

    async def next_to_do(self, service_id: UUID) -> tuple[Operation, Any] | None:
        """Return the oldest unfinished operation of a service and when it was asked for."""
        query = (
            sa.select(*_COLUMNS, operations.c.created_at)
            .where(operations.c.service_id == service_id, operations.c.state.in_(("running", "queued")))
            .order_by((operations.c.state == "queued").asc(), operations.c.created_at)
        )
        row = (await self._session.execute(query)).first()
        if row is None:
            return None
        values = row._asdict()
        asked_at = values.pop("created_at")
        return Operation(**values), asked_at

    async def of(self, operation_ids: Sequence[UUID]) -> Sequence[Operation]:
        """Return those of these operations that have come here."""
        query = sa.select(*_COLUMNS).where(operations.c.id.in_(operation_ids))
        return [Operation(**row._asdict()) for row in await self._session.execute(query)]

    async def begin(self, operation_id: UUID) -> None:
        """Note that an operation is worked on."""
        await self._session.execute(
            sa.update(operations).where(operations.c.id == operation_id).values(state="running")
        )

    async def finish(self, operation_id: UUID, *, reason: str = "") -> None:
        """Note an operation's end: done, or failed with a reason."""
        state = "failed" if reason else "done"
        statement = sa.update(operations).where(operations.c.id == operation_id)
        await self._session.execute(statement.values(state=state, reason=reason, finished_at=sa.func.now()))
