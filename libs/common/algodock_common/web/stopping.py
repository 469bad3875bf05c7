"""Told when the server is about to stop, while its connections are still open.

What would keep a connection open for long (a stream of events) ends it then, instead of holding
the stop up until its grace is over.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["stopping", "when_stopping"]

_told: list[Callable[[], None]] = []


@contextmanager
def when_stopping(callback: Callable[[], None]) -> Iterator[None]:
    """Have ``callback`` (quick, not raising) called in the event loop when this process's server begins to stop."""
    _told.append(callback)
    try:
        yield
    finally:
        _told.remove(callback)


def stopping() -> None:
    """Tell everybody; the server calls it."""
    for callback in _told:
        callback()
