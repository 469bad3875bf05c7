"""The bucket that payloads and results lie in: made when it is missing, however late the object store comes up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from algodock_common.errors import AlgoDockError

if TYPE_CHECKING:
    from algodock_common.storage import ObjectStore

__all__ = ["BucketKeeper"]

log = structlog.get_logger()

RETRY_S = 2.0


class BucketKeeper:
    """Makes the bucket in the background: a service is useful before its object store is."""

    def __init__(self, store: ObjectStore) -> None:
        """Keep the store; nothing is sent."""
        self._store = store
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to try."""
        self._task = asyncio.create_task(self._make(), name="bucket")

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
