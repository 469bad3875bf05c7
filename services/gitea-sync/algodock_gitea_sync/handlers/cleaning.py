"""What gitea-sync made and nobody needs any more: old bundles, old deliveries, loose objects."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from algodock_common.observability import get_logger
from algodock_gitea_sync.handlers.looks import BUNDLES, bundle_key
from algodock_gitea_sync.repository import deliveries, repositories

if TYPE_CHECKING:
    from algodock_common.database import Database
    from algodock_common.storage import ObjectStore
    from algodock_gitea_sync.clients.builtin import BuiltinForge

__all__ = ["Cleaning"]

log = get_logger()


@dataclass(frozen=True, slots=True)
class Cleaning:
    """Cleans up; times in seconds."""

    db: Database
    store: ObjectStore
    builtin: BuiltinForge
    bundle_keep_s: float
    delivery_keep_s: float

    async def clean(self) -> None:
        """Go through everything once."""
        bundles = await self.bundles()
        async with self.db.transaction() as tx:
            forgotten = await deliveries.forget_older(tx.session, self.delivery_keep_s)
        tidied = await self.builtin.tidy()
        log.info("cleaned", bundles=bundles, deliveries=forgotten, repositories=tidied)

    async def bundles(self) -> int:
        """Remove bundles past their time, but for those of last seen commits; return how many went."""
        async with self.db.read() as session:
            kept = {bundle_key(*seen) for seen in await repositories.last_seen_commits(session)}
        before = datetime.now(UTC) - timedelta(seconds=self.bundle_keep_s)
        old = [o.key for o in await self.store.list(BUNDLES) if o.modified_at < before and o.key not in kept]
        for key in old:
            await self.store.remove(key)
        return len(old)
