"""What runs in a worker is held: leases are extended in time, and what lost its lease or is cancelled stops."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Literal

import structlog

from algodock_runner.repository import lease

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from uuid import UUID

    from algodock_common.database import Database
    from algodock_runner.handlers.attempt import Attempt

__all__ = ["Holding", "Run"]

log = structlog.get_logger()

WATCH_EVERY_S = 0.5

Stop = Literal["cancel", "lease lost", "drain"]


class Run:
    """One attempt in the pool: its task in the event loop, how long its lease holds, why it was stopped."""

    def __init__(self, attempt: Attempt, lease_until: float) -> None:
        """``lease_until`` is by the monotonic clock."""
        self.attempt = attempt
        self.lease_until = lease_until
        self.stop_reason: Stop | None = None
        self.writing = False
        self.task: asyncio.Task[None] | None = None

    def stop(self, reason: Stop) -> None:
        """Close the call. A lost lease overrules the rest, because then nothing may be written any more."""
        first = self.stop_reason is None and not self.writing  # what is done is done
        if first or (reason == "lease lost" and self.stop_reason != reason):
            self.stop_reason = reason
            if self.task is not None:
                self.task.cancel()


class Holding:
    """Keeps the leases of ``runs`` and watches over them."""

    def __init__(self, db: Database, runs: Mapping[UUID, Run], *, lease_s: float) -> None:
        """``runs`` changes while this looks at it."""
        self._db = db
        self._runs = runs
        self._lease_s = lease_s
        self._watch_now = asyncio.Event()
        self._loops: list[asyncio.Task[None]] = []

    def watch_now(self) -> None:
        """Look at once for what is to stop."""
        self._watch_now.set()

    async def start(self) -> None:
        """Begin to hold."""
        self._loops = [
            asyncio.create_task(self._keep_leases(), name="pool-leases"),
            asyncio.create_task(self._keep_watching(), name="pool-watch"),
        ]

    async def stop(self) -> None:
        """Let go; call it when nothing runs any more."""
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)

    async def _keep_leases(self) -> None:
        """Extend the leases of all that runs, three times in the length of a lease."""
        period_s = self._lease_s / 3
        while True:
            await asyncio.sleep(period_s)
            held = {id_: run.attempt.claim.attempt for id_, run in self._runs.items()}
            if not held:
                continue
            served = {id_: run.attempt.served for id_, run in self._runs.items()}
            asked = time.monotonic()
            try:
                async with asyncio.timeout(period_s):
                    kept = await lease.renew(self._db, held, lease_s=self._lease_s, by=served)
            except Exception as error:  # noqa: BLE001  # the watch ends what cannot be kept
                log.warning("leases_not_renewed", tasks=len(held), error=repr(error))
                continue
            self._renewed(held, kept, asked)

    def _renewed(self, held: Iterable[UUID], kept: set[UUID], asked: float) -> None:
        for id_ in held:
            run = self._runs.get(id_)
            if run is None:
                continue
            if id_ in kept:
                run.lease_until = asked + self._lease_s
            else:
                run.stop("lease lost")

    async def _keep_watching(self) -> None:
        """Stop what holds no lease any more, by our own clock, and what its owner cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WATCH_EVERY_S):
                    await self._watch_now.wait()
            self._watch_now.clear()
            now = time.monotonic()
            for run in list(self._runs.values()):
                if now >= run.lease_until:
                    run.stop("lease lost")
            asked = [id_ for id_, run in self._runs.items() if run.stop_reason is None]
            if not asked:
                continue
            try:
                async with asyncio.timeout(self._lease_s / 3):
                    cancelled = await lease.cancel_requests(self._db, asked)
            except Exception as error:  # noqa: BLE001  # asked again in a moment
                log.warning("cancel_requests_not_read", error=repr(error))
                continue
            for id_ in cancelled:
                found = self._runs.get(id_)
                if found is not None:
                    found.stop("cancel")
