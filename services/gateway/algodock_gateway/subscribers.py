"""Kafka and signals in: releases (as a group), finished tasks (each gateway); instances are the routing feed's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from algodock_common.events import ReleaseChanged, TaskFinished
from algodock_common.signals import SLOTS_MOVED, TASK_FINISHED
from algodock_common.task_stream import TASK_MOVED

if TYPE_CHECKING:
    from algodock_common.capacity import Capacity
    from algodock_common.messaging import Bus
    from algodock_common.signals import Signals
    from algodock_gateway.handlers.following import Following

__all__ = ["subscribe"]


def subscribe(bus: Bus, signals: Signals, following: Following, capacity: Capacity) -> None:
    """Take everything else that the flow table gives to the gateway."""
    bus.subscribe(ReleaseChanged, following.release_changed)
    bus.subscribe(TaskFinished, following.task_finished, wanted=following.tasks_are_watched)
    signals.subscribe(TASK_FINISHED, following.task_told)
    signals.subscribe(TASK_MOVED, following.task_moved)
    signals.subscribe(SLOTS_MOVED, capacity.told)
