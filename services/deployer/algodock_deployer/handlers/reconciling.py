"""Desired and seen brought together: at the start, after any crash, and every few seconds."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from algodock_common.events import ServiceCommand
from algodock_common.identifiers import uuid7
from algodock_deployer.clients.drivers import Survey
from algodock_deployer.clients.tools import end_builds
from algodock_deployer.handlers.draining import start_drains
from algodock_deployer.handlers.keeping import keep_alive
from algodock_deployer.handlers.last_words import last_words
from algodock_deployer.handlers.status import show_status
from algodock_deployer.repository import Instances, Operations, Releases, Services

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from algodock_deployer.clients.processes import Seen
    from algodock_deployer.domain.releases import Instance, Service
    from algodock_deployer.handlers.context import Context

__all__ = ["begin", "reconcile"]

log = structlog.get_logger()


async def begin(context: Context) -> None:
    """Take back what this node's earlier deployer had claimed, and end its builds: there is one deployer a node."""
    async with context.database.transaction() as tx:
        await Services(tx.session).unclaim_node(context.node_id)
    if ended := await asyncio.to_thread(end_builds, context.folders.build_logs):
        log.warning("builds_of_earlier_deployer_ended", processes=ended)
    context.bell.set()


async def reconcile(context: Context) -> None:
    """Look at what runs and close the distance to what should.

    Raises:
        DriverUnavailable: one that runs programs is away; those of the others were looked after.
    """
    found = Survey(context.processes)
    await found.ensure()
    async with context.database.read() as session:
        instances = await Instances(session).of_node(context.node_id)
        services = {one.id: one for one in await Services(session).all(removed=True)}
    await found.look()
    known = [one for one in instances if found.tells_of(one.program)]
    await _end_unknown(context, found.seen)
    await _note_seen(context, known, found.seen)
    await keep_alive(context, known, found.seen)
    await start_drains(context)
    if found.away is not None:  # who is away may yet have what seems to be nowhere
        raise found.away
    await _revive(context, list(services.values()), known, found.seen)


async def _end_unknown(context: Context, seen: Mapping[str, Seen]) -> None:
    """End programs that no row stands for; a row is always written before its program starts."""
    async with context.database.read() as session:
        known = {one.program for one in await Instances(session).of_node(context.node_id)}
    for program in seen:
        if program not in known:
            log.warning("unknown_program_ended", program=program)
            await context.processes.stop(program)
            await context.confinement.end_strays(program, "")


async def _note_seen(context: Context, instances: Sequence[Instance], seen: Mapping[str, Seen]) -> None:
    touched: dict[UUID, str] = {}
    for instance in instances:
        found = seen.get(instance.program)
        state = found.state if found else "gone"
        if state == "BACKOFF":
            state = "STARTING"  # supervisord tries again; it gives up by itself
        if instance.phase == "serving" and state != instance.seen:
            async with context.database.transaction() as tx:
                await Instances(tx.session).saw(instance.id, state)
            touched[instance.service_id] = last_words(context, instance) if state in {"FATAL", "EXITED"} else ""
    for service_id, detail in touched.items():
        async with context.database.transaction() as tx:
            await show_status(tx, service_id, detail)


async def _revive(
    context: Context, services: Sequence[Service], instances: Sequence[Instance], seen: Mapping[str, Seen]
) -> None:
    """Ask for a start where a service should run here and supervisord or the registry know none of its instances."""
    for service in services:
        if not service.serving or service.asleep or service.node_id != context.node_id:
            continue
        serving = [one for one in instances if one.service_id == service.id and one.phase == "serving"]
        if any(one.program in seen and one.reported != "gone" for one in serving):
            continue
        async with context.database.transaction() as tx:
            await Services(tx.session).locked(service.id)
            operation = await Operations(tx.session).next_to_do(service.id)
            release = await Releases(tx.session).next_to_do(service.id)
            present = await Instances(tx.session).of_service(service.id)
            # What was read before may be older than a switch that has happened since: look again under the lock.
            if operation is not None or release is not None or await _any_runs(context, present):
                continue
            command = ServiceCommand(operation_id=uuid7(), algorithm_id=service.id, algorithm=service.name,
                                     action="restart", actor="reconciler")  # fmt: skip
            await Operations(tx.session).add(command, None)
        log.warning("service_revived", algorithm=service.name)
        context.bell.set()


async def _any_runs(context: Context, instances: Sequence[Instance]) -> bool:
    """Return whether an instance is on its way, or serves and is known to supervisord and registry."""
    for one in instances:
        if one.phase == "starting":
            return True
        if one.phase == "serving" and one.reported != "gone" and await context.processes.look(one.program) is not None:
            return True
    return False
