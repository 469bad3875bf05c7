"""Load in, and what the rules make of it once a second: an operation to scale, done like a person's."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from algodock_common.events import ScaleRule, ServiceCommand
from algodock_common.identifiers import uuid7
from algodock_deployer.domain.scaling import decide
from algodock_deployer.repository import Canaries, Instances, Operations, Releases, Services

if TYPE_CHECKING:
    from algodock_common.database import Transaction
    from algodock_common.events import Event, ServiceLoad
    from algodock_deployer.domain.releases import Service
    from algodock_deployer.handlers.context import Context

__all__ = ["BY_RULE", "scale_by_rule", "take_load"]

log = structlog.get_logger()

BY_RULE = "scale rule"
"""The actor of what a rule asks for."""


async def take_load(context: Context, event: Event[ServiceLoad]) -> None:
    """Keep a router's word; it counts for a few seconds."""
    context.loads.put(event.data, time.monotonic())


async def scale_by_rule(context: Context) -> None:
    """Look at every service with a rule, and ask for what it makes of the load.

    Which deployer hears a service's load, the broker decides; that it was busy is noted for the others.
    """
    now = time.monotonic()
    async with context.database.read() as session:
        ruled = await Services(session).ruled()
    busy = [one.id for one in ruled if context.loads.busy(one.name, now)]
    if busy:
        async with context.database.transaction() as tx:
            await Services(tx.session).were_busy(busy)
    for service in ruled:
        rule = ScaleRule.model_validate(service.scale_rule)
        sustained, peak = context.loads.note(service.name, now, rule.cooldown_s)
        if service.id not in busy and service.quiet_s < rule.cooldown_s:
            continue  # another deployer hears its load, or it has just ended
        async with context.database.transaction() as tx:
            wanted = await _wanted(tx, service, rule, sustained, peak)
            if wanted is not None:
                await _ask(tx, service, wanted)
        if wanted is not None:
            log.info("scale_rule", algorithm=service.name, instances=wanted, demand=peak)
            context.bell.set()
    context.loads.forget({one.name for one in ruled}, now)


async def _wanted(tx: Transaction, service: Service, rule: ScaleRule, sustained: float, peak: float) -> int | None:
    """Return the number to ask for; None while there are so many, or while something else is done or waits."""
    current = await Services(tx.session).locked(service.id)
    if current is None or current.scale_rule != service.scale_rule:
        return None
    if await Operations(tx.session).next_to_do(service.id) or await Releases(tx.session).next_to_do(service.id):
        return None
    if await Canaries(tx.session).current(service.id):
        return None  # scaled once it is promoted, or ended
    count = sum(one.phase == "serving" for one in await Instances(tx.session).of_service(service.id))
    failed = current.message.startswith("scale: ")
    if not count or (failed and current.settled_s < rule.cooldown_s):
        return None  # the reconciler's to bring back; and what did not start is not tried every second
    wanted = decide(rule, count, sustained=sustained, peak=peak, quiet_s=current.quiet_s, settled_s=current.settled_s)
    return None if wanted == count else wanted


async def _ask(tx: Transaction, service: Service, wanted: int) -> None:
    command = ServiceCommand(operation_id=uuid7(), algorithm_id=service.id, algorithm=service.name, action="scale",
                             arguments={"instances": wanted, "by": "rule"}, actor=BY_RULE)  # fmt: skip
    await Operations(tx.session).add(command, None)
