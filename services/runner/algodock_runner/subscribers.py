"""Kafka and signals in: which event goes to which handler, for each of the two processes."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from algodock_common.events import AlgorithmChanged, DeadLetter, TaskReady, TaskRequested
from algodock_common.signals import SLOTS_MOVED, TASK_CANCEL, TASK_READY

if TYPE_CHECKING:
    from algodock_common.capacity import Capacity
    from algodock_common.events import Event
    from algodock_common.messaging import Bus
    from algodock_common.signals import Signals
    from algodock_runner.handlers.catalogue import Catalogue
    from algodock_runner.handlers.inlet import Inlet
    from algodock_runner.handlers.pool import Pool

__all__ = ["subscribe_api", "subscribe_worker"]


def subscribe_api(bus: Bus, *, inlet: Inlet, catalogue: Catalogue) -> None:
    """Subscribe what the API process consumes."""
    bus.subscribe(TaskRequested, inlet.task_requested, with_headers=True)
    bus.subscribe(AlgorithmChanged, catalogue.changed)
    bus.subscribe(DeadLetter, inlet.dead_letter)


def subscribe_worker(bus: Bus, signals: Signals, *, pool: Pool, capacity: Capacity) -> None:
    """Subscribe what a worker consumes beside the routes: the bell, which is answered at once."""

    async def rung(event: Event[TaskReady]) -> None:
        pool.ring(event.data.algorithm)

    bus.subscribe(TaskReady, rung)
    signals.subscribe(TASK_READY, lambda algorithm: pool.ring(algorithm.decode()))
    signals.subscribe(TASK_CANCEL, lambda task_id: pool.cancel_asked(UUID(task_id.decode())))
    signals.subscribe(SLOTS_MOVED, capacity.told)
