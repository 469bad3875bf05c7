"""``canaries``: commits that shall get only some of the calls when they come, and the release that does so now."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from algodock_deployer.repository.tables import canaries, releases

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

__all__ = ["Canaries"]


class Canaries:
    """Reads and writes canaries in the caller's transaction."""

    def __init__(self, session: AsyncSession) -> None:
        """Use ``session``."""
        self._session = session

    async def ask(self, service_id: UUID, commit: str, percent: int) -> None:
        """Note that a commit's release shall be a canary with so many per cent of the calls."""
        statement = insert(canaries).values(service_id=service_id, commit=commit, percent=percent)
        again = {"percent": percent, "asked_at": sa.func.now()}
        await self._session.execute(
            statement.on_conflict_do_update(index_elements=["service_id", "commit"], set_=again)
        )

    async def asked(self, service_id: UUID, commit: str) -> int:
        """Return the per cent that a commit's release shall get; 0: nobody asked."""
        query = sa.select(canaries.c.percent).where(canaries.c.service_id == service_id, canaries.c.commit == commit)
        return int((await self._session.execute(query)).scalar() or 0)

    async def current(self, service_id: UUID) -> UUID | None:
        """Return the release that is the service's canary now."""
        query = sa.select(releases.c.id).where(releases.c.service_id == service_id, releases.c.state == "canary")
        found: UUID | None = (await self._session.execute(query.order_by(releases.c.created_at.desc()))).scalar()
        return found
