"""How many tasks may wait for an algorithm: past that, submitting is refused until some have run."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from algodock_common.errors import AlgoDockError
from algodock_runner.domain.errors import QueueFull
from algodock_runner.repository.depth import waiting

if TYPE_CHECKING:
    from algodock_common.database import Database
    from algodock_runner.clients.registry import Registry
    from algodock_runner.domain.algorithms import KnownAlgorithm

__all__ = ["QueueDepths"]

log = structlog.get_logger()

DEFAULT_DEPTH = 100_000
"""Where neither the owner nor the manifest says one."""
COUNTED_S = 1.0
COUNTED_FAR_BELOW_S = 5.0
READ_EVERY_S = 3.0
COME_AGAIN_S = 2.0


class _Count:
    """What waited when it was counted, and what was let in since."""

    def __init__(self, seen: int) -> None:
        self.seen = seen
        self.at = time.monotonic()


class QueueDepths:
    """Keeps queues within their depths, by counts that are a second old and what this process accepted since.

    The owner's word goes before the manifest's. Several processes may together go a little past a depth.
    """

    def __init__(self, db: Database, registry: Registry) -> None:
        """``registry`` tells what the manifests of the algorithms that run declare."""
        self._db = db
        self._registry = registry
        self._declared: dict[str, int] = {}
        self._counts: dict[str, _Count] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to read what manifests declare."""
        self._task = asyncio.create_task(self._keep_reading(), name="declared-depths")

    async def stop(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def refresh(self) -> None:
        """Read what manifests declare now.

        Raises:
            AlgoDockError: the registry does not answer.
        """
        self._declared = await self._registry.declared_depths()

    def depth(self, algorithm: KnownAlgorithm) -> int:
        """Return how many tasks may wait for it."""
        for said in (algorithm.queue, self._declared.get(algorithm.name)):
            if said is not None:
                return max(1, said)
        return DEFAULT_DEPTH

    async def look(self, algorithm: KnownAlgorithm) -> None:
        """Count what waits for it, unless that was done a moment ago."""
        depth = self.depth(algorithm)
        count = self._counts.get(algorithm.name)
        if count is None or time.monotonic() - count.at > _kept_s(count.seen, depth):
            async with self._db.read() as session:
                self._counts[algorithm.name] = _Count(await waiting(session, algorithm.name, most=depth))

    def take(self, algorithm: KnownAlgorithm) -> bool:
        """Take a place in its queue, after a ``look``; False: there is none.

        A place that is not used after all (a repeated submission) is free again at the next count.
        """
        count = self._counts[algorithm.name]
        if count.seen >= self.depth(algorithm):
            return False
        count.seen += 1
        return True

    def full(self, algorithm: KnownAlgorithm) -> QueueFull:
        """Return the refusal."""
        msg = f"{self.depth(algorithm)} tasks wait for {algorithm.name} already, which is as many as may."
        return QueueFull(msg, retry_after=COME_AGAIN_S)

    async def _keep_reading(self) -> None:
        while True:
            try:
                await self.refresh()
            except AlgoDockError as error:  # what was read last goes on to hold
                log.warning("declared_depths_not_read", error=error.detail)
            await asyncio.sleep(READ_EVERY_S)


def _kept_s(seen: int, depth: int) -> float:
    """Return for how long a count is believed: counting a long queue is not free, and far below nothing is at stake."""
    return COUNTED_FAR_BELOW_S if seen * 2 < depth else COUNTED_S
