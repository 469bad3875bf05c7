"""How long a fetch waits at a broker that wakes nobody: briefly while messages come, longer when none came for a while.

The embedded broker answers a waiting fetch only when its time is up, so the wait is how late a message
comes; but asking every 10 ms costs a tenth of a core for each consumer, also when nothing happens.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer

__all__ = ["Pace"]

EAGER_S = 5.0


class Pace:
    """The wait of one consumer's fetches: ``eager_ms`` for five seconds after a message, else ``idle_ms``."""

    def __init__(self, eager_ms: int, idle_ms: int) -> None:
        """It begins idle."""
        self.wait_ms = idle_ms
        self._eager_ms = eager_ms
        self._idle_ms = idle_ms
        self._last_message = -EAGER_S

    def seen(self, consumer: AIOKafkaConsumer | None) -> None:
        """Note that a message came, and fetch eagerly from now on."""
        self._last_message = time.monotonic()
        self._set(consumer, self._eager_ms)

    def look(self, consumer: AIOKafkaConsumer | None) -> None:
        """Fetch at ease when the last message is some seconds ago; to be called now and then."""
        if time.monotonic() - self._last_message > EAGER_S:
            self._set(consumer, self._idle_ms)

    def _set(self, consumer: AIOKafkaConsumer | None, wait_ms: int) -> None:
        self.wait_ms = wait_ms
        fetcher = getattr(consumer, "_fetcher", None)
        if fetcher is not None:
            # aiokafka reads it for every fetch request and offers no other way to change it.
            fetcher._fetch_max_wait_ms = wait_ms  # noqa: SLF001
