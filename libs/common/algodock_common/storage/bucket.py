"""The bucket of the platform: made when it is missing, however late the object store comes up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from algodock_common.errors import AlgoDockError

if TYPE_CHECKING:
    from algodock_common.storage.store import ObjectStore

__all__ = ["BucketKeeper"]

log = structlog.get_logger()

RETRY_S: Final = 2.0
FIRST_S: Final = 1.0
"""A start waits so long for a store that answers: what comes right after it finds the bucket."""


class BucketKeeper:
    """Makes the bucket in the background: a service is useful before its object store is."""

    def __init__(self, store: ObjectStore) -> None:
        """Keep the store; nothing is sent."""
        self._store = store
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to try; the first try may end before this returns, however it ends."""
        self._task = asyncio.create_task(self._make(), name="bucket")
        await asyncio.wait([self._task], timeout=FIRST_S)

    async def stop(self) -> None:
        """Stop trying."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _make(self) -> None:
        while True:
            try:
                await self._store.ensure_bucket()
            except AlgoDockError as error:
                log.warning("bucket_not_made", error=error.detail)
                await asyncio.sleep(RETRY_S)
            else:
                return
