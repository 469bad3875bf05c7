"""``gpu_leases``: which instance has which GPU. A lease goes with its instance's row, whatever removes that."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import sqlalchemy as sa

from algodock_deployer.domain.devices import Held
from algodock_deployer.repository.tables import gpu_leases, instances, releases

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncSession

    from algodock_deployer.domain.devices import Device

__all__ = ["GpuLeases"]


class GpuLeases:
    """Reads and writes leases in the caller's transaction."""

    def __init__(self, session: AsyncSession) -> None:
        """Use ``session``."""
        self._session = session

    async def hold(self, node_id: str) -> None:
        """Let nobody else lease on the node until the transaction ends."""
        await self._session.execute(
            sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(f"gpu/{node_id}", 0)))
        )

    async def of_node(self, node_id: str) -> Sequence[Held]:
        """Return every lease of a node."""
        query = (
            sa.select(gpu_leases.c.device, gpu_leases.c.share, instances.c.algorithm, releases.c.commit)
            .join(instances, instances.c.id == gpu_leases.c.instance_id)
            .join(releases, releases.c.id == instances.c.release_id)
            .where(gpu_leases.c.node_id == node_id)
        )
        return [Held(row.device, row.share, row.algorithm, row.commit) for row in await self._session.execute(query)]

    async def add(self, instance_id: UUID, node_id: str, devices: Sequence[Device], share: int) -> None:
        """Note that the instance has these devices, each with ``share`` thousandths."""
        rows = [{"instance_id": instance_id, "node_id": node_id, "device": one.uuid, "share": share} for one in devices]
        await self._session.execute(sa.insert(gpu_leases), rows)
