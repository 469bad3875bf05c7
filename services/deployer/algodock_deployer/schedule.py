"""Time in: claims work as soon as the bell rings, keeps claims alive, reconciles, cleans."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import structlog

from algodock_deployer import handlers
from algodock_deployer.repository import Services

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

__all__ = ["Schedule"]

log = structlog.get_logger()

CLAIM_EVERY_S = 5.0
RETRY_S = 1.0
LOG_TIMES_EVERY_S = 1.0


class Schedule:
    """The deployer's loops; at most ``tuning.parallel`` services are worked on at once."""

    def __init__(
        self,
        context: handlers.Context,
        *,
        reconcile_every_s: float = 2.0,
        clean_every_s: float = 600.0,
        watch_every_s: float = 10.0,
    ) -> None:
        """Nothing runs before ``start``."""
        self._context = context
        self._reconcile_every_s, self._clean_every_s = reconcile_every_s, clean_every_s
        self._watch_every_s = watch_every_s
        self._working: dict[UUID, asyncio.Task[None]] = {}
        self._loops: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin; what an earlier process left in the middle is taken up first."""
        self._loops = [
            asyncio.create_task(self._claim(), name="claim"),
            asyncio.create_task(self._renew(), name="renew"),
            asyncio.create_task(self._again(handlers.reconcile, self._reconcile_every_s), name="reconcile"),
            asyncio.create_task(self._again(handlers.watch_health, self._watch_every_s), name="watch"),
            asyncio.create_task(self._again(handlers.withdraw_failing, self._reconcile_every_s), name="withdraw"),
            asyncio.create_task(self._again(handlers.scale_by_rule, 1.0), name="scale"),
            asyncio.create_task(self._again(handlers.note_log_times, LOG_TIMES_EVERY_S), name="log-times"),
            asyncio.create_task(self._again(handlers.clean, self._clean_every_s), name="clean"),
        ]

    async def stop(self) -> None:
        """End the loops and what is worked on; a release in the middle is begun again at the next start."""
        tasks = [*self._loops, *self._working.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._context.background.stop()

    async def _claim(self) -> None:
        while True:
            try:
                await handlers.begin(self._context)
                break
            except Exception as error:  # noqa: BLE001  # the database may come later than we do
                log.warning("begin_waits", error=repr(error))
                await asyncio.sleep(RETRY_S)
        while True:
            self._context.bell.clear()
            try:
                await self._claim_once()
            except Exception as error:  # noqa: BLE001  # the database is away: its rows are still there later
                log.warning("claim_failed", error=repr(error))
                await asyncio.sleep(RETRY_S)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLAIM_EVERY_S):
                    await self._context.bell.wait()

    async def _claim_once(self) -> None:
        room = self._context.tuning.parallel - len(self._working)
        if room <= 0:
            return
        async with self._context.database.transaction() as tx:
            claimed = await Services(tx.session).claim(
                self._context.node_id, limit=room, lease_s=self._context.tuning.lease_s
            )
        for service_id in claimed:
            self._working[service_id] = asyncio.create_task(self._work(service_id), name=f"work-{service_id}")

    async def _work(self, service_id: UUID) -> None:
        """Do everything that waits for a service, then give its claim back."""
        try:
            while await handlers.take_turn(self._context, service_id):
                pass
        except Exception:
            log.exception("turn_failed", service=str(service_id))
            await asyncio.sleep(RETRY_S)
        finally:
            self._working.pop(service_id, None)
        await self._unclaim(service_id)
        self._context.bell.set()  # something may have come between the last look and now

    async def _unclaim(self, service_id: UUID) -> None:
        try:
            async with self._context.database.transaction() as tx:
                await Services(tx.session).unclaim(service_id)
        except Exception as error:  # noqa: BLE001  # the lease runs out by itself
            log.warning("claim_kept", service=str(service_id), error=repr(error))

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._context.tuning.lease_s / 3)
            if not self._working:
                continue
            try:
                async with self._context.database.transaction() as tx:
                    await Services(tx.session).renew(list(self._working), self._context.tuning.lease_s)
            except Exception as error:  # noqa: BLE001  # tried again in a third of the lease
                log.warning("renewal_failed", error=repr(error))

    async def _again(self, work: Callable[[handlers.Context], Awaitable[None]], every_s: float) -> None:
        while True:
            try:
                await work(self._context)
            except Exception as error:  # noqa: BLE001  # whatever is away now is looked for again
                log.warning("round_failed", work=work.__name__, error=repr(error))
            await asyncio.sleep(every_s)
