"""Commands in: each becomes a row that is done once, and what becomes of algorithms themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from algodock_common.database import accept_once
from algodock_common.observability import current_traceparent
from algodock_deployer.handlers.pushes import CONSUMER
from algodock_deployer.handlers.status import show_status
from algodock_deployer.repository import Instances, Operations, Services

if TYPE_CHECKING:
    from algodock_common.events import AlgorithmChanged, Event, InstanceChanged, ServiceCommand
    from algodock_deployer.handlers.context import Context

__all__ = ["take_algorithm", "take_command", "take_instance"]

log = structlog.get_logger()


async def take_command(context: Context, event: Event[ServiceCommand]) -> None:
    """Keep a command to be done; repeated, it is the same one."""
    command = event.data
    async with context.database.transaction() as tx:
        services = Services(tx.session)
        await services.put(command.algorithm_id, command.algorithm)
        if not await Operations(tx.session).add(command, current_traceparent()):
            return
        service = await services.locked(command.algorithm_id)
        if service is not None and service.serving and command.action in {"stop", "remove"}:
            await services.update(service.id, status="stopping")
    log.info("command_taken", algorithm=command.algorithm, action=command.action, operation=str(command.operation_id))
    if command.action in {"stop", "remove"}:
        context.attempts.supersede(command.algorithm_id, f"{command.action} was asked for")
    context.bell.set()


async def take_algorithm(context: Context, event: Event[AlgorithmChanged]) -> None:
    """Know an algorithm from its first moment: its service is there, and stopped."""
    data = event.data
    async with context.database.transaction() as tx:
        if not await accept_once(tx, CONSUMER, event):
            return
        services = Services(tx.session)
        known = await services.locked(data.algorithm_id)
        await services.put(data.algorithm_id, data.algorithm)
        if known is None:
            await services.update(data.algorithm_id, desired="stopped", status="stopped", owner=data.owner)
        else:
            await services.update(data.algorithm_id, owner=data.owner)


async def take_instance(context: Context, event: Event[InstanceChanged]) -> None:
    """Learn since which epoch an instance drains, and whether a serving one fell silent or came back."""
    data = event.data
    context.edge_bell.set()
    if data.release_id is None:
        return
    async with context.database.transaction() as tx:
        if not await accept_once(tx, CONSUMER, event):
            return
        await Services(tx.session).locked(data.algorithm_id)  # before its instances, as whoever switches does
        instances = Instances(tx.session)
        service_id = await instances.reported(data.instance_id, data.state)
        if data.state == "draining":
            await instances.drains_since(data.instance_id, data.epoch)
        elif service_id is not None:
            await show_status(tx, service_id)
    if data.state == "draining":
        await context.drains.post(data.instance_id, data.epoch)
