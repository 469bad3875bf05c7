"""Removes what nobody needs any more: results past their age or quota, old tasks, objects that no task names.

Runs in the API process; several may run at once, they skip each other's rows. A row always says
that a result is gone before its object goes, so nobody is pointed to what is not there.
"""

from __future__ import annotations

import asyncio
import re
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog
from prometheus_client import Counter

from algodock_common.errors import AlgoDockError
from algodock_common.outages import is_infrastructure
from algodock_runner.repository import retention

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from algodock_common.database import Database
    from algodock_common.storage import ObjectStore
    from algodock_runner.settings import TaskSettings

__all__ = ["Sweeper"]

log = structlog.get_logger()

PREFIX: Final = "tasks/"
PAGE: Final = 500
PAGE_EVERY_S: Final = 1.0
PASS_EVERY_S: Final = 3600.0
SETTLE_S: Final = 120.0
TOGETHER: Final = 5000
AT_ONCE: Final = 8
DAY_S: Final = 86_400.0
_FIRST: Final = UUID(int=0)
_KEY: Final = re.compile(r"tasks/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/(?:input|([0-9]{1,9}))")

SWEPT = Counter("algodock_tasks_swept_total", "Results, tasks and objects that were removed, by the reason", ["reason"])


class Sweeper:
    """Keeps tables and bucket as small as the limits say."""

    def __init__(self, db: Database, store: ObjectStore, *, settings: TaskSettings, settle_s: float = SETTLE_S) -> None:
        """Keep what it works with; ``settle_s`` is longer than any request takes to commit."""
        self._db = db
        self._store = store
        self._settings = settings
        self._settle_s = settle_s
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin."""
        self._tasks = [
            asyncio.create_task(self._keep(self.sweep_once, self._settings.sweep_every_s), name="sweeper"),
            asyncio.create_task(self._keep(self.sweep_orphans, PASS_EVERY_S), name="sweeper-orphans"),
        ]

    async def stop(self) -> None:
        """Stop; what is in the middle is found again."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def sweep_once(self) -> None:
        """Let results know changed limits, and remove those past their age or quota, and old tasks."""
        await self._apply_limits()
        while len(gone := await self._noted(retention.expired, "age")) >= retention.BATCH:
            log.debug("results_expired", results=len(gone))
        async with self._db.transaction() as tx:
            limited = await retention.with_quota(tx)
        for algorithm in limited:
            while len(await self._beyond(algorithm)) >= retention.BATCH:
                pass
        if self._settings.keep_days:
            while await self._remove_old() >= retention.BATCH:
                pass

    async def sweep_orphans(self) -> None:
        """Go once through the tasks' objects, page by page, and remove what is old and named by no task.

        It is asked for twice: a rerun that read its original's row just before that was removed
        has committed by then, and names the input.
        """
        after = ""
        found: list[str] = []
        while page := await self._store.list(PREFIX, after=after, limit=PAGE):
            before = datetime.now(UTC) - timedelta(seconds=self._settings.orphan_age_s)
            found += await self._unnamed([one.key for one in page if one.modified_at < before])
            after = page[-1].key
            if len(found) >= TOGETHER:
                await self._remove_orphans(found)
                found = []
            await asyncio.sleep(PAGE_EVERY_S if len(page) == PAGE else 0)
        await self._remove_orphans(found)

    async def _apply_limits(self) -> None:
        while True:
            async with self._db.transaction() as tx:
                due = await retention.limits_due(tx)
            if due is None:
                return
            algorithm, limits = due
            after: UUID | None = _FIRST
            while after is not None:
                async with self._db.transaction() as tx:
                    after = await retention.apply_limits(tx, algorithm, after)
            async with self._db.transaction() as tx:
                await retention.limits_applied(tx, algorithm, limits)

    async def _beyond(self, algorithm: str) -> list[str]:
        return await self._noted(lambda tx: retention.beyond_quota(tx, algorithm), "quota")

    async def _noted(self, note: Callable[..., Awaitable[list[str]]], reason: str) -> list[str]:
        """Commit that results are gone, then remove their objects."""
        async with self._db.transaction() as tx:
            keys = await note(tx)
        await self._remove(keys, reason)
        return keys

    async def _remove_old(self) -> int:
        """Remove a batch of old tasks and their results; their inputs may be reruns', and go as orphans."""
        keep_s = self._settings.keep_days * DAY_S
        async with self._db.transaction() as tx:
            gone = await retention.old(tx, before=_id_of(time.time() - keep_s), keep_s=keep_s)
        SWEPT.labels("old task").inc(gone.tasks)
        await self._remove(gone.results, "old task's result")
        return gone.tasks

    async def _remove_orphans(self, keys: list[str]) -> None:
        if keys:
            await asyncio.sleep(self._settle_s)
            await self._remove(await self._unnamed(keys), "named by no task")

    async def _unnamed(self, keys: Iterable[str]) -> list[str]:
        """Return those of ``keys`` that no task names; what has another form is not ours to judge.

        An input is named by its task's row from the beginning and by its reruns, a result by the
        attempt that runs, and then by the row.
        """
        parsed = [(key, found) for key in keys if (found := _KEY.fullmatch(key)) is not None]
        if not parsed:
            return []
        async with self._db.transaction() as tx:
            named = await retention.named(
                tx,
                [key for key, _ in parsed],
                [UUID(found[1]) for _, found in parsed],
                [None if found[2] is None else int(found[2]) for _, found in parsed],
            )
        return [key for key, _ in parsed if key not in named]

    async def _remove(self, keys: Iterable[str], reason: str) -> None:
        room = asyncio.Semaphore(AT_ONCE)

        async def remove(key: str) -> None:
            async with room:
                try:
                    await self._store.remove(key)
                except AlgoDockError as error:  # no task names it: the next pass finds it
                    log.warning("object_not_removed", key=key, error=error.detail)
                else:
                    SWEPT.labels(reason).inc()

        await asyncio.gather(*(remove(key) for key in keys))

    @staticmethod
    async def _keep(step: Callable[[], Awaitable[None]], every_s: float) -> None:
        while True:
            try:
                await step()
            except Exception as error:  # a sweeper that dies sweeps nothing
                expected = isinstance(error, AlgoDockError) or is_infrastructure(error)
                log.warning("sweep_failed", error=repr(error), exc_info=None if expected else error)
            await asyncio.sleep(every_s)


def _id_of(moment: float) -> UUID:
    """Return the lowest id that can have been made at ``moment`` (Unix seconds): ids begin with their time."""
    return UUID(int=int(max(0.0, moment) * 1000) << 80)
