"""Scaling: instances of the release that serves come one by one, each proven before it gets calls, or go one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import structlog
from pydantic import ValidationError

from algodock_common.errors import AlgoDockError
from algodock_common.events import MOST_INSTANCES, ScaleRule
from algodock_deployer.domain.errors import CommandRefused
from algodock_deployer.domain.plan import Plan, limits_of
from algodock_deployer.domain.releases import changed
from algodock_deployer.handlers.building import prepare
from algodock_deployer.handlers.draining import drain_all
from algodock_deployer.handlers.progress import Progress
from algodock_deployer.handlers.rollout import sweep
from algodock_deployer.handlers.starting import start_instances
from algodock_deployer.handlers.switching import follow_up
from algodock_deployer.repository import Canaries, Instances, Releases, Services

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncSession

    from algodock_deployer.domain.releases import Instance, Operation, Release, Service
    from algodock_deployer.handlers.context import Context

__all__ = ["scale"]

log = structlog.get_logger()

ASLEEP: Final = "asleep: the next call or task wakes it"


async def scale(context: Context, service: Service, operation: Operation) -> None:
    """Let a service have so many instances, also after each later start; one that is stopped only notes it.

    Asked for a rule instead, it has as many as it has now, within the rule's bounds, until the rule says otherwise.

    Raises:
        CommandRefused: it cannot have so many.
        AlgoDockError: one did not start; those that did stay, and their number is what is noted then.
    """
    count, rule = await _asked(context, service, operation)
    async with context.database.read() as session:
        if await Canaries(session).current(service.id):
            raise CommandRefused(f"{service.name} has a canary: promote it or roll it back before it is scaled")
    asleep = service.asleep
    release = await _serving_release(context, service)
    if release is not None and count > 1 and Plan.model_validate(release.plan or {}).manifest.port is not None:
        raise CommandRefused(f"{service.name} has a pinned port, and that serves one instance")
    async with context.database.transaction() as tx:
        service = await Services(tx.session).update(service.id, instances=count, scale_rule=rule)
    if release is None:
        return
    progress = Progress(context, service, release)
    await sweep(context, progress)
    try:
        await _grow(context, progress, count)
    except AlgoDockError:
        async with context.database.transaction() as tx:
            has = len(await _serving(tx.session, service.id))
            await Services(tx.session).scaled(service.id, instances=has or (0 if asleep else 1))
        raise
    await _shrink(context, service, release, count)
    async with context.database.transaction() as tx:
        current = await Services(tx.session).scaled(service.id, instances=count)
        if current.asleep:
            await Services(tx.session).update(service.id, status="running", health="unknown", message=ASLEEP)
        elif asleep:
            await Services(tx.session).update(service.id, status="running", health="healthy", message="")
        elif current.message.startswith("scale: "):
            await Services(tx.session).update(service.id, message="")
    log.info("service_scaled", algorithm=service.name, instances=count, by=operation.actor)


async def _asked(context: Context, service: Service, operation: Operation) -> tuple[int, dict[str, Any] | None]:
    """Return the number of instances and the rule that are asked for: a number by hand ends a rule."""
    if "rule" in operation.arguments:
        try:
            rule = ScaleRule.model_validate(operation.arguments["rule"])
        except ValidationError as error:
            said = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
            raise CommandRefused(f"this is no scale rule: {said}") from error
        async with context.database.read() as session:
            has = len(await _serving(session, service.id))
        return min(rule.max, max(rule.min, 0 if service.asleep and rule.min == 0 else 1, has)), rule.model_dump()
    wanted = operation.arguments.get("instances")
    by_rule = operation.arguments.get("by") == "rule"
    if not isinstance(wanted, int) or not (0 if by_rule else 1) <= wanted <= MOST_INSTANCES:
        raise CommandRefused(f"a service has 1 to {MOST_INSTANCES} instances, not {wanted!r}; `stop` ends all of them")
    return wanted, service.scale_rule if by_rule else None


async def _serving_release(context: Context, service: Service) -> Release | None:
    if not service.serving or service.live_release_id is None:
        return None
    async with context.database.read() as session:
        return await Releases(session).get(service.live_release_id)


async def _serving(session: AsyncSession, service_id: UUID) -> Sequence[Instance]:
    return [one for one in await Instances(session).of_service(service_id) if one.phase == "serving"]


async def _grow(context: Context, progress: Progress, count: int) -> None:
    """Start one after the other what is missing, and give each its part of the traffic."""
    service_id, release_id = progress.service.id, progress.release.id
    async with context.database.read() as session:
        missing = count - len(await _serving(session, service_id))
    if missing <= 0:
        return
    async with context.database.transaction() as tx:
        progress.release = await Releases(tx.session).begin_again(release_id)
    prepared = await prepare(context, progress)
    for _ in range(missing):
        new = await start_instances(context, progress, prepared, count=1)
        async with progress.step("join", "checking"), context.database.transaction() as tx:
            service = await Services(tx.session).update(service_id)
            await Instances(tx.session).set_phase([one.id for one in new], "serving")
            release = await Releases(tx.session).end_step(release_id, progress.detail)
            serving = [one.id for one in await _serving(tx.session, service_id)]
            tx.emit(changed(service, release, instances=serving, limits=limits_of(release.plan)))
        progress.release, progress.service = release, service


async def _shrink(context: Context, service: Service, release: Release, count: int) -> None:
    """Take the traffic from one after the other of what is too much, let its calls end, and end it."""
    while True:
        async with context.database.transaction() as tx:
            current = await Services(tx.session).locked(service.id)
            serving = await _serving(tx.session, service.id)
            if current is None or len(serving) <= count:
                break
            await Instances(tx.session).set_phase([serving[-1].id], "draining")
            rest = [one.id for one in serving[:-1]]
            limits = limits_of(release.plan)
            tx.emit(changed(current, release, serving=bool(rest), instances=rest, limits=limits))
        await drain_all(context, service.id)
    if serving:
        await follow_up(context, serving)
