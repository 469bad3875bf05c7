"""Looking after instances: who sends no beats is probed, and so is who missed one.

Misses are counted by looks that were really made, never by the clock: a registry that was away for
a while, or whose database was, finds nobody silent because of it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog
from prometheus_client import Counter

from algodock_registry.domain import after_failed_look, after_life_sign
from algodock_registry.handlers.routing import change_routing
from algodock_registry.repository import Instances

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from algodock_common.events import InstanceState
    from algodock_registry.handlers.context import Context
    from algodock_registry.repository import Instance

__all__ = ["look"]

BATCH = 200
LOOKS = Counter("algodock_registry_looks_total", "Looks at the health of instances by what they found", ["found"])
log = structlog.get_logger()


async def look(context: Context) -> float:
    """Look at every instance that is due; return in how many seconds the next one is."""
    async with context.database.transaction() as tx:
        due, wait_s = await Instances(tx.session).claim_looks(context.node_id, context.interval, BATCH)
    if not due:
        return wait_s
    ailments = await asyncio.gather(*(context.probe.ailment(one.base_url, one.health_path) for one in due))
    await _write(context, due, dict(zip((one.id for one in due), ailments, strict=True)))
    return wait_s


async def _write(context: Context, due: Sequence[Instance], ailments: dict[UUID, str | None]) -> None:
    before = {one.id: one.seen_at for one in due}
    async with context.database.transaction() as tx:
        instances = Instances(tx.session)
        moves: list[tuple[Instance, InstanceState]] = []
        well: list[UUID] = []
        for one in (await instances.lock(before)).values():
            ailment = ailments[one.id]
            if ailment is None or one.seen_at != before[one.id]:  # a beat may have come meanwhile
                LOOKS.labels("well").inc()
                well.append(one.id)
                to = after_life_sign(one.state)
            else:
                LOOKS.labels("ill").inc()
                one.missed += 1
                to = after_failed_look(one.state, one.missed)
                log.info("instance.missed", instance_id=str(one.id), missed=one.missed, ailment=ailment)
            if to != one.state:
                moves.append((one, to))
        if well:
            await instances.note_seen(well)
        await change_routing(tx, moves, look_in=context.interval)
