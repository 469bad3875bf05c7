"""What algorithms say while they run, to Redis: bounded in rate and size, never waited for.

Redis away or slow means dropped and counted: a task runs no later for those who watch it.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

import structlog
from prometheus_client import Counter
from redis.exceptions import RedisError

from algodock_common.task_stream import ENTRIES, KEPT_S, TASK_MOVED, progress_key, stream_key

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from redis.asyncio import Redis

    from algodock_common.signals import Signals
    from algodock_common.task_stream import Said

__all__ = ["Progress", "Sink"]

log = structlog.get_logger()

RATE: Final = 100.0
BURST: Final = 500.0
"""Entries of one attempt: a second, and at once."""
ENTRY_BYTES: Final = 8 * 1024
WAITING: Final = 5_000
WAITING_BYTES: Final = 8 * 2**20
TIMEOUT_S: Final = 2.0
AGAIN_S: Final = 0.5

SAID = Counter("algodock_task_stream_entries_total", "What algorithms said while they ran", ["kind", "outcome"])


class Progress:
    """A worker's one writer of live streams: what is said leaves in batches."""

    def __init__(self, redis: Redis, signals: Signals | None) -> None:
        """Keep what it works with; ``signals`` wakes who reads."""
        self._redis = redis
        self._signals = signals
        self._waiting: list[tuple[UUID, Said, dict[str, str]]] = []
        self._bytes = 0
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._away = False

    async def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.create_task(self._run(), name="task-streams")

    async def stop(self) -> None:
        """Write what waits, if Redis takes it at once."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None
        if self._waiting:
            await self._write()

    def sink(self, task_id: UUID, attempt: int) -> Sink:
        """Return where one attempt's words go."""
        return Sink(self, task_id, attempt)

    def moved(self, ids: Iterable[UUID]) -> None:
        """Wake who watches tasks whose state has changed."""
        if self._signals is not None:
            for id_ in ids:
                self._signals.publish(TASK_MOVED, str(id_).encode())

    def put(self, task_id: UUID, kind: Said, attempt: int, data: dict[str, Any]) -> bool:
        """Take an entry to be written; say whether there was room for it."""
        text = json.dumps({"attempt": attempt} | data)
        if len(text) > ENTRY_BYTES:
            text = json.dumps({"attempt": attempt, "omitted_bytes": len(text)} | _without_values(data))
        if len(self._waiting) >= WAITING or self._bytes + len(text) > WAITING_BYTES or self._task is None:
            SAID.labels(kind, "dropped").inc()
            return False
        self._waiting.append((task_id, kind, {"kind": kind, "attempt": str(attempt), "data": text}))
        self._bytes += len(text)
        self._wanted.set()
        return True

    async def _run(self) -> None:
        while True:
            await self._wanted.wait()
            await self._write()
            if self._away:
                await asyncio.sleep(AGAIN_S)

    async def _write(self) -> None:
        batch, self._waiting, self._bytes = self._waiting, [], 0
        self._wanted.clear()
        last = {task_id: fields["data"] for task_id, kind, fields in batch if kind == "progress"}
        tasks = {task_id for task_id, _, _ in batch}
        outcome = "written"
        try:
            async with asyncio.timeout(TIMEOUT_S), self._redis.pipeline(transaction=False) as pipe:
                for task_id, _, fields in batch:
                    pipe.xadd(stream_key(task_id), fields, maxlen=ENTRIES, approximate=True)  # type: ignore[arg-type]  # the stubs want a wider dict
                for task_id in tasks:
                    pipe.expire(stream_key(task_id), KEPT_S)
                for task_id, text in last.items():
                    pipe.set(progress_key(task_id), text, ex=KEPT_S)
                await pipe.execute()
        except (RedisError, OSError) as error:
            outcome = "dropped"
            if not self._away:
                log.warning("task_streams_not_written", entries=len(batch), error=repr(error))
        self._away = outcome == "dropped"
        for _, kind, _ in batch:
            SAID.labels(kind, outcome).inc()
        if not self._away:
            self.moved(tasks)


class Sink:
    """What one attempt says. Of progress that comes too fast the last is kept; logs and outputs are dropped."""

    def __init__(self, progress: Progress, task_id: UUID, attempt: int) -> None:
        """Begin with a full allowance."""
        self._progress = progress
        self._task_id = task_id
        self._attempt = attempt
        self._allowance = BURST
        self._loop = asyncio.get_running_loop()
        self._at = self._loop.time()
        self._dropped = 0
        self._late: dict[str, Any] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def say(self, kind: Said, data: dict[str, Any]) -> None:
        """Pass it on, as far as the rate allows; returns at once."""
        now = self._loop.time()
        self._allowance = min(BURST, self._allowance + (now - self._at) * RATE)
        self._at = now
        if self._allowance >= 1:
            if kind == "progress":
                self._take_late()
            self._pass_on(kind, data)
        elif kind == "progress":
            self._late = data
            if self._timer is None:
                self._timer = self._loop.call_later(1 / RATE, self._say_late)
        else:
            self._dropped += 1
            SAID.labels(kind, "dropped").inc()

    def close(self) -> None:
        """Say what is still held back: nothing more comes."""
        late = self._take_late()
        if late is not None:
            self._pass_on("progress", late)

    def _pass_on(self, kind: Said, data: dict[str, Any]) -> None:
        self._allowance -= 1
        more = {"dropped": self._dropped} if self._dropped else {}
        if self._progress.put(self._task_id, kind, self._attempt, data | more):
            self._dropped = 0
        else:
            self._dropped += 1

    def _say_late(self) -> None:
        late = self._take_late()
        if late is not None:
            self.say("progress", late)

    def _take_late(self) -> dict[str, Any] | None:
        late, self._late = self._late, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return late


def _without_values(data: dict[str, Any]) -> dict[str, Any]:
    """Return what is left of an entry that is too large: numbers, and the beginning of its texts."""
    kept: dict[str, Any] = {}
    for name, value in data.items():
        if isinstance(value, str):
            kept[name] = value[:1000]
        elif isinstance(value, (int, float)) or value is None:
            kept[name] = value
    return kept
