"""``instances``: the processes that this deployer answers for, each with its program and where it stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import sqlalchemy as sa

from algodock_deployer.domain.releases import Instance
from algodock_deployer.repository.tables import instances

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncSession

    from algodock_deployer.domain.releases import InstancePhase

__all__ = ["Instances"]

_LIFE = ("pid", "exits", "up_since", "hold", "hold_until", "why")
_COLUMNS = tuple(column for column in instances.c if column.name != "created_at")


def _instance(row: Any) -> Instance:
    return Instance(**row._asdict())


class Instances:
    """Reads and writes instances in the caller's transaction."""

    def __init__(self, session: AsyncSession) -> None:
        """Use ``session``."""
        self._session = session

    async def add(self, instance: Instance) -> None:
        """Note an instance before its process is started, so that a crash leaves nothing unknown behind."""
        await self._session.execute(sa.insert(instances).values(vars(instance)))

    async def of_service(self, service_id: UUID) -> Sequence[Instance]:
        """Return a service's instances by index."""
        query = sa.select(*_COLUMNS).where(instances.c.service_id == service_id)
        return [_instance(row) for row in await self._session.execute(query.order_by(instances.c.index))]

    async def of_node(self, node_id: str) -> Sequence[Instance]:
        """Return every instance of a node."""
        query = sa.select(*_COLUMNS).where(instances.c.node_id == node_id)
        return [_instance(row) for row in await self._session.execute(query)]

    async def all(self) -> Sequence[Instance]:
        """Return every instance."""
        return [_instance(row) for row in await self._session.execute(sa.select(*_COLUMNS))]

    async def serving_ports(self, node_id: str) -> dict[str, int]:
        """Return the port of every service that is served on a node (its first instance's)."""
        query = (
            sa.select(instances.c.algorithm, instances.c.port)
            .where(instances.c.node_id == node_id, instances.c.phase == "serving")
            .order_by(instances.c.index.desc())
        )
        return {row.algorithm: row.port for row in await self._session.execute(query)}

    async def set_phase(self, instance_ids: Sequence[UUID], phase: InstancePhase) -> None:
        """Move instances to another phase."""
        statement = sa.update(instances).where(instances.c.id.in_(instance_ids))
        await self._session.execute(statement.values(phase=phase))

    async def drains_since(self, instance_id: UUID, epoch: int) -> None:
        """Note the routing epoch at which the routers were told to let go."""
        statement = sa.update(instances).where(
            instances.c.id == instance_id, sa.or_(instances.c.epoch.is_(None), instances.c.epoch < epoch)
        )
        await self._session.execute(statement.values(epoch=epoch))

    async def saw(self, instance_id: UUID, state: str) -> None:
        """Note how the instance's process was last seen."""
        await self._session.execute(sa.update(instances).where(instances.c.id == instance_id).values(seen=state))

    async def now(self) -> datetime:
        """Return the database's time."""
        return (await self._session.execute(sa.select(sa.func.now()))).scalar_one()

    async def keep(self, one: Instance) -> None:
        """Note what is known of an instance's process: its exits, and whether it is held."""
        statement = sa.update(instances).where(instances.c.id == one.id)
        await self._session.execute(statement.values({name: getattr(one, name) for name in _LIFE}))

    async def reported(self, instance_id: UUID, state: str) -> UUID | None:
        """Note the registry's word for an instance; return its service, None when the instance is not ours."""
        statement = sa.update(instances).where(instances.c.id == instance_id).values(reported=state)
        found = (await self._session.execute(statement.returning(instances.c.service_id))).first()
        return found.service_id if found else None

    async def remove(self, instance_id: UUID) -> None:
        """Forget an instance whose process is gone."""
        await self._session.execute(sa.delete(instances).where(instances.c.id == instance_id))
