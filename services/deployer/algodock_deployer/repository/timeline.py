"""``service_timeline``: written in the transaction of what happened, so that neither is there without the other."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import sqlalchemy as sa

from algodock_deployer.domain.timeline import Entry
from algodock_deployer.repository.tables import timeline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncSession

    from algodock_deployer.domain.releases import Release

__all__ = ["Timeline"]

_COLUMNS = [column for column in timeline.c if column.name != "service_id"]
LONGEST_DETAIL = 4000


class Timeline:
    """Writes and reads timelines in the caller's transaction."""

    def __init__(self, session: AsyncSession) -> None:
        """Use ``session``."""
        self._session = session

    async def note(
        self, service_id: UUID, kind: str, *, actor: str = "", ok: bool = True, release: Release | None = None,
        detail: str = "",
    ) -> None:  # fmt: skip
        """Write down what happened, by the database's clock; a detail of many characters is cut."""
        values = {
            "service_id": service_id,
            "kind": kind,
            "ok": ok,
            "actor": actor,
            "release_id": release.id if release else None,
            "commit": release.commit if release else "",
            "detail": detail[:LONGEST_DETAIL],
        }
        await self._session.execute(sa.insert(timeline).values(values))

    async def of(self, service_id: UUID, *, limit: int, before: int | None = None) -> Sequence[Entry]:
        """Return a service's entries, newest first; ``before`` is a number to go on from."""
        query = sa.select(*_COLUMNS).where(timeline.c.service_id == service_id)
        if before is not None:
            query = query.where(timeline.c.number < before)
        query = query.order_by(timeline.c.number.desc()).limit(limit)
        return [Entry(**row._asdict()) for row in await self._session.execute(query)]

    async def trim(self, *, keep: int) -> None:
        """Delete what is older than each service's last ``keep`` entries."""
        place = sa.func.row_number().over(partition_by=timeline.c.service_id, order_by=timeline.c.number.desc())
        placed = sa.select(timeline.c.number, place.label("place")).subquery()
        old = sa.select(placed.c.number).where(placed.c.place > keep)
        await self._session.execute(sa.delete(timeline).where(timeline.c.number.in_(old)))
