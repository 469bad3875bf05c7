"""Who waits for something to change, by its key: long polls are woken by events, never by sleeping alone."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Waiters"]


class Waiters:
    """Wakes by key. Begin to wait before looking, so that no change falls in between."""

    def __init__(self) -> None:
        """Nobody waits."""
        self._waiting: dict[str, set[asyncio.Event]] = defaultdict(set)

    @contextmanager
    def waiting(self, key: str) -> Iterator[asyncio.Event]:
        """Give an event that is set when ``wake(key)`` is called meanwhile."""
        changed = asyncio.Event()
        self._waiting[key].add(changed)
        try:
            yield changed
        finally:
            self._waiting[key].discard(changed)
            if not self._waiting[key]:
                del self._waiting[key]

    def wake(self, key: str) -> None:
        """Wake everybody who waits for ``key``."""
        for changed in self._waiting.get(key, ()):
            changed.set()

    def __len__(self) -> int:
        """Return how many keys are waited for."""
        return len(self._waiting)
