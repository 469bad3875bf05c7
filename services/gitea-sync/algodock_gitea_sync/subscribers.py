"""Kafka in: an archived algorithm's repository takes no more pushes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from algodock_common.database import accept_once
from algodock_common.events import AlgorithmChanged

if TYPE_CHECKING:
    from algodock_common.database import Database
    from algodock_common.events import Event
    from algodock_common.messaging import Bus
    from algodock_gitea_sync.handlers.repositories import Repositories

__all__ = ["subscribe"]


def subscribe(bus: Bus, db: Database, repositories: Repositories) -> None:
    """Connect the events that gitea-sync consumes with what it does about them."""

    async def algorithm_changed(event: Event[AlgorithmChanged]) -> None:
        async with db.transaction() as tx:
            if await accept_once(tx, "gitea-sync", event):
                await repositories.follow(tx, event)

    bus.subscribe(AlgorithmChanged, algorithm_changed)
