"""The clock as an inlet: polls branch heads as the backstop for lost webhooks, and cleans up once a day."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from algodock_common.observability import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from algodock_gitea_sync.handlers.cleaning import Cleaning
    from algodock_gitea_sync.handlers.polling import Poller

__all__ = ["Schedule"]

log = get_logger()
_CLEAN_EVERY_S = 86_400.0
_FIRST_CLEAN_S = 600.0


class Schedule:
    """Runs the poller and the cleaning at their times."""

    def __init__(self, poller: Poller, cleaning: Cleaning, *, poll_interval_s: float) -> None:
        """Nothing runs before ``start``."""
        self._poller = poller
        self._cleaning = cleaning
        self._poll_interval_s = poll_interval_s
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Poll at once (pushes may have come while nobody ran) and then regularly."""
        self._tasks = [
            asyncio.create_task(self._every(self._poll_interval_s, self._poller.poll), name="poll"),
            asyncio.create_task(self._every(_CLEAN_EVERY_S, self._cleaning.clean, first=_FIRST_CLEAN_S), name="clean"),
        ]

    async def stop(self) -> None:
        """Stop at the next await."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @staticmethod
    async def _every(seconds: float, work: Callable[[], Awaitable[object]], *, first: float = 0) -> None:
        await asyncio.sleep(first)
        while True:
            try:
                await work()
            except Exception:  # a database that is away, a full disk: the next round may go
                log.exception("scheduled_work_failed", work=work.__name__)
            await asyncio.sleep(seconds)
