"""A task as it was submitted, to make another of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from algodock_runner.domain.reruns import Original

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncSession

__all__ = ["original"]

_ORIGINAL = sa.text("""
SELECT id, owner, algorithm, version, body, body_key, content_type, priority, timeout_s, max_attempts, metadata,
    callback_url
FROM tasks WHERE id = :id AND (CAST(:owner AS text) IS NULL OR owner = :owner)
""")


async def original(session: AsyncSession, task_id: UUID, *, owner: str | None) -> Original | None:
    """Return the task, or None when there is none that ``owner`` (None: anybody) may see."""
    row = (await session.execute(_ORIGINAL, {"id": task_id, "owner": owner})).mappings().first()
    return None if row is None else Original(**row)
