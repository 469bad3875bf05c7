"""How long a fetch waits at a broker that wakes nobody: briefly while messages come, longer when none came for a while.

The embedded broker answers a waiting fetch only when its time is up, so the wait is how late a message
comes; but asking every 10 ms costs a tenth of a core for each consumer, also when nothing happens.
"""

from __future__ import annotations

import time
from typing import Any

__all__ = ["Pace"]

EAGER_S = 5.0
NOTED_S = 0.5


class Pace:
    """The waits of consumers of one process: all eager for five seconds after a message, since one brings others.

    Those of ``fast`` topics have a pace of their own: only their own messages make them that eager.
    """

    def __init__(self) -> None:
        """It begins idle."""
        self._consumers: list[tuple[Any, int, int]] = []
        self._eager = False
        self._last_message = 0.0

    def add(self, subscriber: Any, *, eager_ms: int, idle_ms: int) -> None:
        """Set the pace of a subscriber's consumer, too, once it has one."""
        self._consumers.append((subscriber, eager_ms, idle_ms))

    def seen(self) -> None:
        """Note that a message came or went."""
        now = time.monotonic()
        if self._eager and now - self._last_message < NOTED_S:
            return
        self._last_message = now
        self._set(eager=True)

    def look(self) -> None:
        """Let fetches rest when the last message is some seconds ago; to be called now and then."""
        if time.monotonic() - self._last_message > EAGER_S:
            self._set(eager=False)

    def _set(self, *, eager: bool) -> None:
        self._eager = eager
        for subscriber, eager_ms, idle_ms in self._consumers:
            fetcher = getattr(subscriber.consumer, "_fetcher", None)
            if fetcher is not None:
                # aiokafka reads it for every fetch request and offers no other way to change it.
                fetcher._fetch_max_wait_ms = eager_ms if eager else idle_ms  # noqa: SLF001
