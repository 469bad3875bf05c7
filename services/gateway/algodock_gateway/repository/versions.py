"""Algorithm versions: every release that the deployer told of, as the gateway's people see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from algodock_gateway.repository.tables import algorithm_versions

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from algodock_common.events import ReleaseChanged

__all__ = ["Versions"]


class Versions:
    """Versions within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        """Work in ``session``."""
        self._session = session

    async def put(self, release: ReleaseChanged) -> None:
        """Write a release as it stands now."""
        values = {
            "algorithm_id": release.algorithm_id,
            "commit": release.commit,
            "config_version": release.config_version,
            "state": release.state,
            "reason": release.reason,
            "schema_key": release.schema_key,
            "samples_key": release.samples_key,
            "limits": release.limits.model_dump(mode="json"),
        }
        live_at = sa.func.now() if release.state == "live" else None
        statement = insert(algorithm_versions).values(release_id=release.release_id, live_at=live_at, **values)
        statement = statement.on_conflict_do_update(
            index_elements=[algorithm_versions.c.release_id],
            set_={
                **values,
                "changed_at": sa.func.now(),
                "live_at": sa.func.coalesce(statement.excluded.live_at, algorithm_versions.c.live_at),
            },
        )
        await self._session.execute(statement)
