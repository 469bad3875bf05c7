"""The states of a task and the steps between them; every UPDATE of a state takes its guard from here."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from algodock_common.events import TaskState

__all__ = ["TRANSITIONS", "states_before"]

TRANSITIONS: Mapping[TaskState, frozenset[TaskState]] = MappingProxyType(
    {
        "accepted": frozenset({"queued", "cancelled", "expired"}),
        "queued": frozenset({"running", "failed", "cancelled", "expired"}),
        "running": frozenset({"queued", "succeeded", "failed", "cancelled", "expired"}),
        "succeeded": frozenset(),
        "failed": frozenset(),
        "cancelled": frozenset(),
        "expired": frozenset(),
    }
)
"""From each state to those that may follow: ``accepted`` is a committed row that is not due yet
(``not_before``), ``queued`` one that a worker may claim, now or after a wait between two attempts."""


def states_before(state: TaskState) -> list[TaskState]:
    """Return the states that ``state`` may follow, in their usual order."""
    return [before for before, after in TRANSITIONS.items() if state in after]
