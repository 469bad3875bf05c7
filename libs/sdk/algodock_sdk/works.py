"""Calls that name their task: what of each still runs, so that a cancel can say when the work has really stopped."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

from algodock_sdk.problems import Problem

__all__ = ["Work", "WorkCancelled", "Works"]

Value = TypeVar("Value")

_REMEMBERED = 10_000


class WorkCancelled(Problem):
    """409: the task was cancelled before this call of it began."""

    def __init__(self, task: str) -> None:
        """Name the task."""
        super().__init__(409, "Task cancelled", f"task {task} was cancelled", code="task-cancelled")


class Work:
    """One call: it goes on until its coroutine (or stream) has ended and no thread is at it any more.

    A coroutine can be cancelled. What runs in a thread cannot: it is waited for.
    """

    def __init__(self, on_stop: Callable[[Work], None] = lambda _: None) -> None:
        """Begin, in the event loop that the call runs in; ``on_stop`` is called there when it has stopped."""
        self._on_stop = on_stop
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._threads = 0
        self._closed = False
        self._ended = False
        self._task: asyncio.Future[Any] | None = None
        self._stopped = asyncio.Event()

    @property
    def closed(self) -> bool:
        """Say whether nobody waits for the outcome any more."""
        return self._closed

    def runs_as(self, task: asyncio.Future[Any]) -> None:
        """Name what a cancel stops."""
        self._task = task
        if self._closed:
            task.cancel()

    def close(self) -> None:
        """Cancel the coroutine, and let no thread begin any more."""
        with self._lock:
            self._closed = True
        if self._task is not None:
            self._task.cancel()

    def end(self) -> None:
        """Note that the coroutine or the stream has ended; threads may still be at it."""
        self._ended = True
        self._look()

    def in_thread(self, function: Callable[[], Value]) -> Value:
        """Call ``function`` and count it as going on until it returns; called in the thread.

        Raises:
            asyncio.CancelledError: the call was closed before the thread came to it.
        """
        with self._lock:
            if self._closed:
                raise asyncio.CancelledError
            self._threads += 1
        try:
            return function()
        finally:
            with self._lock:
                self._threads -= 1
            with contextlib.suppress(RuntimeError):  # the loop has closed: the program ends
                self._loop.call_soon_threadsafe(self._look)

    async def stopped(self, within_s: float) -> bool:
        """Return whether all of it has stopped, after at most so many seconds."""
        waiting = asyncio.ensure_future(self._stopped.wait())
        try:
            await asyncio.wait({waiting}, timeout=within_s)  # asyncio.timeout is not in Python 3.10 yet
        finally:
            waiting.cancel()
        return self._stopped.is_set()

    def _look(self) -> None:
        if self._ended and self._threads == 0 and not self._stopped.is_set():
            self._stopped.set()
            self._on_stop(self)


class Works:
    """The calls that run, by the task that they name, and the tasks that were cancelled."""

    def __init__(self) -> None:
        """Have none."""
        self._running: dict[str, set[Work]] = {}
        self._cancelled: OrderedDict[str, None] = OrderedDict()

    def begin(self, task: str | None) -> Work:
        """Return the work of a call that begins; a call without a task cannot be cancelled by name.

        Raises:
            WorkCancelled: the task was cancelled; the call must have been on its way then.
        """
        if task and task in self._cancelled:
            raise WorkCancelled(task)
        if not task:
            return Work()
        work = Work(lambda stopped: self._forget(task, stopped))
        self._running.setdefault(task, set()).add(work)
        return work

    async def cancel(self, task: str, *, wait_s: float) -> bool | None:
        """Cancel every call of ``task``; return whether they have stopped within ``wait_s``, None when none runs here.

        The task is remembered: a call of it that arrives late does not begin.
        """
        self._cancelled[task] = None
        self._cancelled.move_to_end(task)
        while len(self._cancelled) > _REMEMBERED:
            self._cancelled.popitem(last=False)
        works = list(self._running.get(task, ()))
        if not works:
            return None
        for work in works:
            work.close()
        return all(await asyncio.gather(*(work.stopped(wait_s) for work in works)))

    def _forget(self, task: str, work: Work) -> None:
        works = self._running[task]
        works.discard(work)
        if not works:
            del self._running[task]
