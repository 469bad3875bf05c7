"""The old instances' end: every router lets go, open calls end, then the processes and their leases go."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

import structlog

from algodock_common.errors import AlgoDockError
from algodock_common.observability import span
from algodock_deployer.domain.canaries import WITHDRAWN
from algodock_deployer.domain.plan import limits_of
from algodock_deployer.domain.releases import changed
from algodock_deployer.handlers.starting import abandon
from algodock_deployer.handlers.status import show_status
from algodock_deployer.repository import Instances, Releases, Services

if TYPE_CHECKING:
    from algodock_common.events import ReleaseState
    from algodock_deployer.domain.releases import Instance
    from algodock_deployer.handlers.context import Context

__all__ = ["drain_all", "start_drains"]

log = structlog.get_logger()

LOOK_EVERY_S = 0.05
ASK_REGISTRY_AFTER_S = 1.0


async def start_drains(context: Context) -> None:
    """Take care of every draining instance of this node that nobody takes care of yet."""
    async with context.database.read() as session:
        instances = [one for one in await Instances(session).of_node(context.node_id) if one.phase == "draining"]
    for instance in instances:
        context.background.run(("drain", instance.id), _drain(context, instance))


async def drain_all(context: Context, service_id: UUID) -> None:
    """Drain every draining instance of a service and return when they are gone."""
    while True:
        async with context.database.read() as session:
            instances = [one for one in await Instances(session).of_service(service_id) if one.phase == "draining"]
        if not instances:
            return
        await asyncio.gather(*(_drain_once(context, instance) for instance in instances))


async def _drain_once(context: Context, instance: Instance) -> None:
    """Drain an instance, or wait for who does it already."""
    await context.background.join(("drain", instance.id))
    async with context.database.read() as session:
        if instance.id not in {one.id for one in await Instances(session).of_service(instance.service_id)}:
            return
    await _drain(context, instance)


async def _drain(context: Context, instance: Instance) -> None:
    try:
        async with context.database.read() as session:
            release = await Releases(session).get(instance.release_id)
        timeout_s = limits_of(release.plan if release else None).timeout_s
        parent = release.traceparent if release else None
        with span("drain", parent=parent, algodock__instance=str(instance.id)):
            await _let_go(context, instance, timeout_s + context.tuning.drain_extra_s)
            await abandon(context, [instance])
            await _settle(context, instance)
    except AlgoDockError as error:
        log.warning("drain_waits", instance=str(instance.id), error=error.detail)  # the reconciler begins again


async def _let_go(context: Context, instance: Instance, bound_s: float) -> None:
    """Wait until every router has let go of the instance and nothing is in flight to it, at most ``bound_s``.

    While nobody can say what is in flight the bound alone ends the wait: no call is open for longer. Whose open
    calls nobody waits for is ended when the routers have had the time to hear of it.
    """
    clock = asyncio.get_running_loop()
    begun = clock.time()
    if instance.epoch is not None:
        await context.drains.post(instance.id, instance.epoch)
    while (waited := clock.time() - begun) < bound_s:
        epoch = context.drains.epoch(instance.id)
        if epoch is None:
            epoch = await context.drains.wait(instance.id, ASK_REGISTRY_AFTER_S)
        if epoch is None:
            if await _gone_already(context, instance):
                return
            continue
        hurried = context.drains.hurried(instance.id)  # its open calls are tried again elsewhere
        try:
            routers = await context.routers.look()
        except AlgoDockError:
            if hurried and waited > context.tuning.routers_wait_s:
                return
        else:
            if all(router.epoch >= epoch if hurried else router.let_go(instance.id, epoch) for router in routers):
                return
        await asyncio.sleep(LOOK_EVERY_S)  # Redis tells of no change
    log.warning("drain_bound_reached", instance=str(instance.id), seconds=bound_s)


async def _gone_already(context: Context, instance: Instance) -> bool:
    """Ask the registry when its event did not come: is the instance gone there, or since when does it drain?"""
    try:
        _, routes = await context.registry.routes()
    except AlgoDockError as error:
        log.info("registry_unknown", error=error.detail)
        return False
    route = next((one for one in routes if one.instance_id == instance.id), None)
    if route is None:
        return True
    if route.state == "draining":
        await context.drains.post(instance.id, route.epoch)
    return False


async def _settle(context: Context, instance: Instance) -> None:
    """Keep a release whose last instance is gone, and say that the service has stopped if that was wanted."""
    async with context.database.transaction() as tx:
        services, releases = Services(tx.session), Releases(tx.session)
        service = await services.locked(instance.service_id)
        release = await releases.get(instance.release_id)
        if service is None or release is None or release.state not in {"draining", "canary"}:
            return
        present = await Instances(tx.session).of_service(service.id)
        if any(one.release_id == release.id for one in present):
            return
        if release.state == "canary":  # it was ended, or whatever took its place or stopped the service ended it
            state: ReleaseState = "failed" if release.reason.startswith(WITHDRAWN) else "superseded"
            reason = release.reason or "another release took its place, or its service was stopped"
            release = await releases.update(release.id, state=state, reason=reason)
            tx.emit(changed(service, release, serving=service.serving))
            await show_status(tx, service.id)  # without what was wrong with it
            return
        stopped = service.desired != "running" and not present
        if stopped:
            service = await services.update(service.id, status="stopped", health="unknown", message="")
        release = await releases.update(release.id, state="kept")
        asleep = service.asleep and not present
        tx.emit(changed(service, release, serving=not stopped and not asleep))
