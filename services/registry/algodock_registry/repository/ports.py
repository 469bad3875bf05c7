"""Leases of ports: one row a node and port."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from algodock_registry.repository.models import BlockedPort, PortCursor, PortLease

if TYPE_CHECKING:
    from datetime import timedelta
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncSession

__all__ = ["Ports"]


class Ports:
    """The leases, within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        """Work in ``session``."""
        self._session = session

    async def lock(self, node_id: str) -> int | None:
        """Let searches on this node take turns until the transaction ends; return the port leased last."""
        await self._session.execute(insert(PortCursor).values(node_id=node_id).on_conflict_do_nothing())
        query = sa.select(PortCursor.last_port).where(PortCursor.node_id == node_id).with_for_update()
        return (await self._session.execute(query)).scalar_one()

    async def leased(self, node_id: str) -> frozenset[int]:
        """Return every port that is leased on this node."""
        query = sa.select(PortLease.port).where(PortLease.node_id == node_id)
        return frozenset((await self._session.execute(query)).scalars())

    async def unavailable(self, node_id: str) -> frozenset[int]:
        """Return every port of this node that is leased, or blocked now."""
        leased = sa.select(PortLease.port).where(PortLease.node_id == node_id)
        blocked = sa.select(BlockedPort.port).where(BlockedPort.node_id == node_id, BlockedPort.until > sa.func.now())
        return frozenset((await self._session.execute(sa.union_all(leased, blocked))).scalars())

    async def block(self, node_id: str, port: int, length: timedelta) -> None:
        """Lease a port to nobody for so long; what has passed is forgotten."""
        await self._session.execute(sa.delete(BlockedPort).where(BlockedPort.until <= sa.func.now()))
        until = sa.func.now() + length
        statement = insert(BlockedPort).values(node_id=node_id, port=port, until=until)
        again = statement.on_conflict_do_update(index_elements=["node_id", "port"], set_={"until": until})
        await self._session.execute(again)

    async def lease(self, node_id: str, port: int, instance_id: UUID, *, pinned: bool) -> None:
        """Write a lease; the instance's row must be there. An automatic one moves the cursor."""
        self._session.add(PortLease(node_id=node_id, port=port, instance_id=instance_id, pinned=pinned))
        if not pinned:
            await self._session.execute(
                sa.update(PortCursor).where(PortCursor.node_id == node_id).values(last_port=port)
            )

    async def free(self, instance_id: UUID) -> None:
        """Give the port of an instance back; nothing happens when it has none."""
        await self._session.execute(sa.delete(PortLease).where(PortLease.instance_id == instance_id))
