"""How many tasks wait for an algorithm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

__all__ = ["waiting"]

_WAITING = sa.text("""
SELECT (SELECT count(*) FROM (
        SELECT 1 FROM tasks WHERE algorithm = :algorithm AND state = 'queued' AND wakes_at IS NULL LIMIT :most
    ) AS ready) + (SELECT count(*) FROM (
        SELECT 1 FROM tasks WHERE algorithm = :algorithm AND wakes_at IS NOT NULL LIMIT :most
    ) AS later)
""")


async def waiting(session: AsyncSession, algorithm: str, *, most: int) -> int:
    """Return how many tasks wait for a slot, for their time or for their next attempt; each kind up to ``most``."""
    return int((await session.execute(_WAITING, {"algorithm": algorithm, "most": most})).scalar_one())
