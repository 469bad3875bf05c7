"""SQL of ``webhook_deliveries``: each once, however often it comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from algodock_common.identifiers import uuid7
from algodock_gitea_sync.domain.repository import Outcome
from algodock_gitea_sync.repository.tables import webhook_deliveries as table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncSession

    from algodock_gitea_sync.domain.webhook import Delivery

__all__ = ["forget_older", "newest", "receive", "refuse", "settle", "settle_waiting"]


async def receive(session: AsyncSession, repository_id: UUID, delivery: Delivery) -> UUID:
    """Record a verified delivery and return its row; one that came before is counted and settled again."""
    return await _record(
        session,
        repository_id,
        delivery,
        event=delivery.event,
        ref=delivery.ref,
        before=delivery.before,
        after=delivery.after,
        outcome=Outcome.RECEIVED.value,
        settled_at=None,
    )


async def refuse(session: AsyncSession, repository_id: UUID, delivery: Delivery) -> UUID:
    """Count a delivery without the right signature, in one row a repository: a stranger cannot fill the table."""
    return await _record(
        session,
        repository_id,
        delivery,
        event="refused",
        ref="",
        before="",
        after="",
        outcome=Outcome.REFUSED.value,
        detail="its signature is not that of the repository's secret",
        settled_at=sa.func.now(),
    )


async def _record(session: AsyncSession, repository_id: UUID, delivery: Delivery, **values: object) -> UUID:
    statement = insert(table).values(
        id=uuid7(),
        repository_id=repository_id,
        flavour=delivery.flavour,
        delivery_id=delivery.delivery_id,
        pusher=delivery.pusher,
        **values,
    )
    statement = statement.on_conflict_do_update(
        constraint="webhook_deliveries_once",
        set_={
            "count": table.c.count + 1,
            "last_received_at": sa.func.now(),
            "delivery_id": statement.excluded.delivery_id,
        },
    )
    row: UUID = (await session.execute(statement.returning(table.c.id))).scalar_one()
    return row


async def settle(
    session: AsyncSession, delivery_row: UUID, outcome: Outcome, *, detail: str = "", commit: str | None = None
) -> None:
    """Say what became of a delivery. One that led to a release keeps saying so when it comes again."""
    await session.execute(
        sa.update(table)
        .where(table.c.id == delivery_row)
        .where(sa.or_(table.c.outcome != Outcome.PUSHED.value, sa.literal(outcome is not Outcome.UNCHANGED)))
        .values(outcome=outcome.value, detail=detail, commit=commit, settled_at=sa.func.now())
    )


async def settle_waiting(session: AsyncSession, repository_id: UUID, commit: str) -> None:
    """Say of deliveries whose look was cut short that their commit went out after all."""
    await session.execute(
        sa.update(table)
        .where(table.c.repository_id == repository_id, table.c.after == commit)
        .where(table.c.outcome.in_([Outcome.RECEIVED.value, Outcome.FAILED.value]))
        .values(outcome=Outcome.PUSHED.value, detail="", commit=commit, settled_at=sa.func.now())
    )


async def newest(session: AsyncSession, repository_id: UUID, limit: int) -> Sequence[dict[str, Any]]:
    """Return the newest deliveries."""
    query = (
        sa.select(table)
        .where(table.c.repository_id == repository_id)
        .order_by(table.c.last_received_at.desc(), table.c.id.desc())
        .limit(limit)
    )
    return [dict(row) for row in (await session.execute(query)).mappings()]


async def forget_older(session: AsyncSession, keep_s: float) -> int:
    """Delete deliveries that came ``keep_s`` seconds ago or before; return how many."""
    old = table.c.last_received_at < sa.func.now() - sa.func.make_interval(0, 0, 0, 0, 0, 0, keep_s)
    return (await session.execute(sa.delete(table).where(old))).rowcount  # type: ignore[attr-defined,no-any-return]  # a DELETE's result counts
