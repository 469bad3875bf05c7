"""``service_groups``: services that people command together; a service is in one group or in none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from algodock_common.identifiers import uuid7
from algodock_deployer.domain.groups import Group
from algodock_deployer.repository.tables import service_groups, services

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy.ext.asyncio import AsyncSession

__all__ = ["Groups"]


class Groups:
    """Reads and writes groups in the caller's transaction."""

    def __init__(self, session: AsyncSession) -> None:
        """Use ``session``."""
        self._session = session

    async def all(self, name: str | None = None) -> Sequence[Group]:
        """Return all groups by name with their services by name, or the one of this name."""
        members = sa.func.array_agg(services.c.name).filter(services.c.id.is_not(None))
        joined = service_groups.outerjoin(
            services, sa.and_(services.c.group_id == service_groups.c.id, services.c.desired != "removed")
        )
        query = sa.select(service_groups, members.label("services")).select_from(joined)
        query = query.group_by(service_groups.c.id).order_by(service_groups.c.name)
        if name is not None:
            query = query.where(service_groups.c.name == name)
        return [_group(row) for row in await self._session.execute(query)]

    async def add(self, name: str, owner: str) -> UUID | None:
        """Make a group and return its id; None when there is one of this name."""
        statement = insert(service_groups).values(id=uuid7(), name=name, owner=owner)
        statement = statement.on_conflict_do_nothing(index_elements=["name"])
        made: UUID | None = (await self._session.execute(statement.returning(service_groups.c.id))).scalar()
        return made

    async def locked(self, name: str) -> UUID | None:
        """Return the group's id and hold its row until the transaction ends."""
        query = sa.select(service_groups.c.id).where(service_groups.c.name == name).with_for_update()
        found: UUID | None = (await self._session.execute(query)).scalar()
        return found

    async def rename(self, group_id: UUID, name: str) -> bool:
        """Give the group another name; False when another group has it."""
        query = sa.select(service_groups.c.id).where(service_groups.c.name == name, service_groups.c.id != group_id)
        if (await self._session.execute(query)).first() is not None:
            return False
        await self._session.execute(sa.update(service_groups).where(service_groups.c.id == group_id).values(name=name))
        return True

    async def put_in(self, group_id: UUID, names: Collection[str]) -> Sequence[str]:
        """Move services into the group, out of whatever group they were in; return those that there are not."""
        statement = (
            sa.update(services)
            .where(services.c.name.in_(names), services.c.desired != "removed")
            .values(group_id=group_id)
            .returning(services.c.name)
        )
        found = set((await self._session.execute(statement)).scalars())
        return sorted(set(names) - found)

    async def take_out(self, group_id: UUID, names: Collection[str] | None = None) -> None:
        """Take services out of the group, or all of them."""
        statement = sa.update(services).where(services.c.group_id == group_id)
        if names is not None:
            statement = statement.where(services.c.name.in_(names))
        await self._session.execute(statement.values(group_id=None))

    async def remove(self, name: str) -> bool:
        """Remove the group, its services stay; return whether it was there."""
        statement = sa.delete(service_groups).where(service_groups.c.name == name).returning(service_groups.c.id)
        return (await self._session.execute(statement)).first() is not None


def _group(row: Any) -> Group:
    return Group(row.id, row.name, row.owner, tuple(sorted(row.services or ())), row.created_at)
