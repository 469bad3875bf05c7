"""Who waits for something to change, by its key: they are woken by events and signals, never by sleeping alone."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from algodock_gateway.clients import JsonObject

__all__ = ["Waiter", "Waiters"]


class Waiter(asyncio.Event):
    """Set when what is waited for has changed; ``payload`` is how it is now, where the waker said so."""

    payload: JsonObject | None = None


class Waiters:
    """Wakes by key. Begin to wait before looking, so that no change falls in between."""

    def __init__(self) -> None:
        """Nobody waits."""
        self._waiting: dict[str, set[Waiter]] = defaultdict(set)

    @contextmanager
    def waiting(self, key: str) -> Iterator[Waiter]:
        """Give an event that is set when ``wake(key)`` is called meanwhile."""
        changed = Waiter()
        self._waiting[key].add(changed)
        try:
            yield changed
        finally:
            self._waiting[key].discard(changed)
            if not self._waiting[key]:
                del self._waiting[key]

    def wake(self, key: str, payload: JsonObject | None = None) -> None:
        """Wake everybody who waits for ``key``, and tell them how it is now where that is known."""
        for changed in self._waiting.get(key, ()):
            if payload is not None:
                changed.payload = payload
            changed.set()

    def __len__(self) -> int:
        """Return how many keys are waited for."""
        return len(self._waiting)
