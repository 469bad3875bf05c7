"""Wake-ups by Redis: a commit is told of in a millisecond, to whoever listens just then.

Nothing depends on them. Rows are the truth, Kafka's events reach who missed a signal, and whoever
waits looks again by itself; without Redis all is as right as before, and a little later.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import structlog
from prometheus_client import Counter
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from algodock_common.settings import RedisSettings

__all__ = ["PREFIX", "SLOTS_MOVED", "TASK_CANCEL", "TASK_FINISHED", "TASK_READY", "Signals"]

log = structlog.get_logger()

SLOTS_MOVED: Final = "slots.moved"
"""Somebody waits for slots of a service, or some became free; the payload is its name. Redis says so itself."""
TASK_READY: Final = "task.ready"
"""An algorithm has work that is due; the payload is its name."""
TASK_CANCEL: Final = "task.cancel"
"""A running task is to stop; the payload is its id."""
TASK_FINISHED: Final = "task.finished"
"""A task has ended; the payload is the task as ``GET`` answers it, one line of JSON."""

PREFIX: Final = "algodock:signal:"
"""What the names of channels in Redis begin with."""
_MOST_WAITING: Final = 10_000
_MOST_WAITING_BYTES: Final = 16 * 2**20
_MESSAGE_BYTES: Final = 64 * 1024
_TIMEOUT_S: Final = 2.0
_AGAIN_S: Final = 0.5

SENT = Counter("algodock_signals_total", "Signals to Redis by what became of them", ["channel", "outcome"])


class Signals:
    """One process's signals: what it publishes leaves in batches, what it subscribed to is handed on at once."""

    def __init__(self, settings: RedisSettings) -> None:
        """Prepare; nothing connects before ``start``."""
        self._redis = Redis.from_url(
            settings.url.get_secret_value(),
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S,
            retry=Retry(NoBackoff(), 1),  # once: an idle connection may be stale
        )
        self._handlers: dict[str, Callable[[bytes], None]] = {}
        self._waiting: dict[tuple[str, bytes], None] = {}  # what says the same is said once
        self._waiting_bytes = 0
        self._wanted = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._away = False

    def publish(self, channel: str, payload: bytes) -> None:
        """Send ``payload`` (one line) soon; call it after the commit that it tells of. Returns at once, raises nothing.

        It is dropped, and counted, when Redis is away or slower than what is published.
        """
        if not self._tasks or b"\n" in payload:
            self._drop(channel, 1)
            return
        if len(self._waiting) >= _MOST_WAITING or self._waiting_bytes + len(payload) > _MOST_WAITING_BYTES:
            self._drop(channel, 1)
            return
        self._waiting[channel, payload] = None
        self._waiting_bytes += len(payload)
        self._wanted.set()

    def subscribe(self, channel: str, handler: Callable[[bytes], None]) -> None:
        """Have ``handler(payload)`` called with each signal, in the event loop; before ``start``.

        Raises:
            ValueError: the channel has a handler already.
        """
        if channel in self._handlers:
            msg = f"{channel} has a handler already"
            raise ValueError(msg)
        self._handlers[channel] = handler

    @property
    def away(self) -> bool:
        """Say whether the last batch did not reach Redis."""
        return self._away

    async def start(self) -> None:
        """Begin to send and to listen; returns at once, however Redis is."""
        self._tasks = [asyncio.create_task(self._send(), name="signals-send")]
        if self._handlers:
            self._tasks.append(asyncio.create_task(self._listen(), name="signals-listen"))

    async def stop(self) -> None:
        """Send what waits, if Redis takes it at once, and close the connections."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._waiting:
            await self._send_waiting()
        with contextlib.suppress(RedisError, OSError):
            await self._redis.aclose()

    async def _send(self) -> None:
        while True:
            await self._wanted.wait()
            await self._send_waiting()
            if self._away:
                await asyncio.sleep(_AGAIN_S)

    async def _send_waiting(self) -> None:
        waiting, self._waiting, self._waiting_bytes = self._waiting, {}, 0
        self._wanted.clear()
        counts: dict[str, int] = {}
        for channel, _ in waiting:
            counts[channel] = counts.get(channel, 0) + 1
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                for channel, lines in _messages(waiting):
                    pipe.publish(PREFIX + channel, lines)
                await pipe.execute()
        except (RedisError, OSError) as error:
            if not self._away:
                log.warning("signals_not_sent", signals=len(waiting), error=repr(error))
            self._away = True
            for channel, count in counts.items():
                self._drop(channel, count)
        else:
            self._away = False
            for channel, count in counts.items():
                SENT.labels(channel, "sent").inc(count)

    async def _listen(self) -> None:
        deaf = False
        while True:
            try:
                async with self._redis.pubsub(ignore_subscribe_messages=True) as pubsub:
                    await pubsub.subscribe(*(PREFIX + channel for channel in self._handlers))
                    deaf = False
                    async for message in pubsub.listen():
                        self._hand_on(message["channel"].decode()[len(PREFIX) :], message["data"])
            except (RedisError, OSError) as error:
                if not deaf:
                    log.warning("signals_not_heard", error=repr(error))
                deaf = True
            await asyncio.sleep(_AGAIN_S)

    def _hand_on(self, channel: str, lines: bytes) -> None:
        handler = self._handlers[channel]
        for payload in lines.split(b"\n"):
            try:
                handler(payload)
            except Exception:  # one that is not understood must not silence the next
                log.exception("signal_not_handled", channel=channel)

    @staticmethod
    def _drop(channel: str, count: int) -> None:
        SENT.labels(channel, "dropped").inc(count)


def _messages(waiting: dict[tuple[str, bytes], None]) -> Iterator[tuple[str, bytes]]:
    """Join the payloads of each channel into messages of some size: Redis and its clients pay by the message."""
    open_: dict[str, list[bytes]] = {}
    sizes: dict[str, int] = {}
    for channel, payload in waiting:
        lines = open_.setdefault(channel, [])
        if lines and sizes[channel] + len(payload) > _MESSAGE_BYTES:
            yield channel, b"\n".join(lines)
            lines.clear()
        sizes[channel] = (sizes[channel] if lines else 0) + len(payload)
        lines.append(payload)
    for channel, lines in open_.items():
        yield channel, b"\n".join(lines)
