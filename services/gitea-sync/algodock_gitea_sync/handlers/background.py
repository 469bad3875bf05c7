"""Work that outlives the request that began it, and ends with the service."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from algodock_common.errors import AlgoDockError
from algodock_common.observability import get_logger

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["Background"]

log = get_logger()
Result = TypeVar("Result")


class Background:
    """Holds running tasks, so that they are neither collected nor forgotten."""

    def __init__(self) -> None:
        """Begin with none."""
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, Result], name: str) -> asyncio.Task[Result]:
        """Start ``work``; its failure is logged, also when nobody waits for it."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def close(self) -> None:
        """End what still runs. Nothing is lost: the poller looks again."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if isinstance(error, AlgoDockError):
            log.warning("background_work_failed", work=task.get_name(), error=error.detail)
        else:
            log.error("background_work_failed", work=task.get_name(), exc_info=error)
