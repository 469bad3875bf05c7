"""SQL of ``gitea_configs``: one is active, the others are history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from algodock_common.identifiers import uuid7
from algodock_gitea_sync.repository.tables import gitea_configs as table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncSession

__all__ = ["activate", "active", "history", "new_id"]


def new_id() -> UUID:
    """Return the id that the next configuration gets: its token is encrypted for it."""
    return uuid7()


async def active(session: AsyncSession) -> dict[str, Any] | None:
    """Return the configuration that holds, or None when none was saved."""
    row = (await session.execute(sa.select(table).where(table.c.active))).mappings().one_or_none()
    return None if row is None else dict(row)


async def activate(session: AsyncSession, **values: object) -> None:
    """Make a new configuration the one that holds; the one before becomes history."""
    await session.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext("gitea_configs"))))
    await session.execute(sa.update(table).where(table.c.active).values(active=False, replaced_at=sa.func.now()))
    await session.execute(sa.insert(table).values(active=True, **values))


async def history(session: AsyncSession, limit: int = 50) -> Sequence[dict[str, Any]]:
    """Return the configurations, newest first, without their tokens."""
    columns = [column for column in table.c if column.name != "access_token"]
    query = sa.select(*columns).order_by(table.c.created_at.desc(), table.c.id.desc()).limit(limit)
    return [dict(row) for row in (await session.execute(query)).mappings()]
