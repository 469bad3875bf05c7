"""The backstop for lost webhooks: looks at every repository that was not looked at for a while."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from prometheus_client import Counter

from algodock_common.errors import AlgoDockError
from algodock_common.observability import get_logger
from algodock_gitea_sync.domain.repository import Outcome
from algodock_gitea_sync.repository import repositories

if TYPE_CHECKING:
    from algodock_common.database import Database
    from algodock_gitea_sync.domain.repository import Repository
    from algodock_gitea_sync.handlers.looks import Looks

__all__ = ["Poller"]

log = get_logger()
FOUND = Counter("algodock_polled_pushes_total", "Pushes that a poll found before a webhook told of them")
_AT_ONCE = 8


class Poller:
    """Looks at every repository that was not polled for a while."""

    def __init__(self, db: Database, looks: Looks, *, node_id: str, interval_s: float) -> None:
        """Built-in repositories are polled by the node that holds them, all others by whoever comes first."""
        self._db = db
        self._looks = looks
        self._node_id = node_id
        self._interval_s = interval_s

    async def poll(self) -> int:
        """Look at what is due; return how many new heads there were."""
        async with self._db.transaction() as tx:
            # a little early, or a tick that comes a millisecond early would skip a whole round
            due = await repositories.claim_for_poll(
                tx.session, node_id=self._node_id, older_than_s=self._interval_s * 0.9
            )
        room = asyncio.Semaphore(_AT_ONCE)

        async def one(repository: Repository) -> bool:
            async with room:
                return await self._one(repository)

        return sum(await asyncio.gather(*(one(repository) for repository in due)))

    async def _one(self, repository: Repository) -> bool:
        try:
            look = await self._looks.look(repository)
        except AlgoDockError as error:
            log.warning("poll_failed", repository=repository.full_name, error=error.detail)
            return False
        if look.outcome is not Outcome.PUSHED:
            return False
        FOUND.inc()
        return True
