"""A running task's live stream in Redis: what its algorithm says meanwhile, from a worker to the gateways.

It is for watching only. Its end, its states and its result are rows; what Redis loses is lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from uuid import UUID

__all__ = ["ENTRIES", "KEPT_S", "TASK_MOVED", "Said", "progress_key", "stream_key"]

Said = Literal["progress", "log", "output"]
"""What an entry is; its field ``kind``. Beside it are ``attempt`` and ``data``, a JSON object."""

ENTRIES: Final = 1000
"""About how many of the last entries are kept."""

KEPT_S: Final = 600
"""Seconds that a stream is kept after its last entry."""

TASK_MOVED: Final = "task.moved"
"""The signal that a task began to run, or that something was said; its payload is the task's id."""


def stream_key(task_id: UUID) -> str:
    """Return the key of the task's stream."""
    return f"algodock:task:{task_id}"


def progress_key(task_id: UUID) -> str:
    """Return the key of the last progress that was said, as JSON."""
    return f"algodock:task:{task_id}:progress"
