"""The one way in which routing changes: states, leases, epoch and events in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from prometheus_client import Counter

from algodock_registry.repository import Instances, Ports

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from algodock_common.database import Transaction
    from algodock_common.events import InstanceState
    from algodock_registry.repository import Instance

__all__ = ["change_routing"]

log = structlog.get_logger()

CHANGES = Counter("algodock_registry_changes_total", "Changes of instances by the state they went to", ["state"])


async def change_routing(
    tx: Transaction, moves: Sequence[tuple[Instance, InstanceState]], *, look_in: timedelta
) -> None:
    """Move instances, which the caller holds locked, to their states, in order.

    Each change has an epoch of its own, so an instance's epochs order its events. The epoch's row
    is locked last and to the end: epochs become visible in their order, and a snapshot of epoch n
    holds every change up to n.
    """
    if not moves:
        return
    instances, ports = Instances(tx.session), Ports(tx.session)
    last = await instances.raise_epoch(len(moves))
    for epoch, (instance, state) in enumerate(moves, start=last - len(moves) + 1):
        was = instance.state
        await instances.turn(instance, state, epoch, look_in=look_in if state in {"ready", "silent"} else None)
        if state == "gone":
            await ports.free(instance.id)
        tx.emit(instance.as_event())
        CHANGES.labels(state).inc()
        log.info(
            "instance.changed",
            instance_id=str(instance.id),
            algorithm=instance.algorithm,
            address=f"{instance.host}:{instance.port}",
            was=was,
            state=state,
            epoch=epoch,
        )
