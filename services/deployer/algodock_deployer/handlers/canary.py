"""A canary: a new release that gets some of the calls beside the one that is live, until it is promoted or ended."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

import structlog

from algodock_common import failpoints
from algodock_common.errors import AlgoDockError
from algodock_deployer.domain.canaries import WITHDRAWN, even, shares
from algodock_deployer.domain.errors import CommandRefused, NotSupported, ServiceNotFound
from algodock_deployer.domain.plan import limits_of
from algodock_deployer.domain.releases import changed
from algodock_deployer.handlers.draining import drain_all
from algodock_deployer.handlers.proving import prove
from algodock_deployer.handlers.starting import abandon, start_instances
from algodock_deployer.repository import Canaries, Instances, Releases, Services, Timeline

if TYPE_CHECKING:
    from algodock_deployer.domain.releases import Operation, Release, Service
    from algodock_deployer.handlers.building import Prepared
    from algodock_deployer.handlers.context import Context
    from algodock_deployer.handlers.progress import Progress

__all__ = ["ask_canary", "begin_canary", "canary_of", "canary_percent", "end_canary", "failed_to_promote"]

log = structlog.get_logger()


async def ask_canary(context: Context, name: str, commit: str, percent: int) -> None:
    """Note that a commit, once it is pushed, shall be a canary.

    Raises:
        ServiceNotFound: there is no such service.
    """
    async with context.database.transaction() as tx:
        service = await Services(tx.session).find(name)
        if service is None or service.desired == "removed":
            raise ServiceNotFound(f"there is no service {name!r}")
        await Canaries(tx.session).ask(service.id, commit, percent)


async def canary_percent(context: Context, progress: Progress, prepared: Prepared) -> int:
    """Return how many per cent of the calls the release shall get as a canary; 0: it is none.

    What was live before, or is a canary already, is none: it is started again, or promoted.

    Raises:
        NotSupported: it was asked for, and the release cannot run beside the one that is live.
    """
    if not progress.moves:
        return 0
    manifest = prepared.plan.manifest
    async with context.database.read() as session:
        asked = await Canaries(session).asked(progress.service.id, progress.release.commit)
    percent = asked or (manifest.canary if manifest.strategy == "canary" else 0)
    if percent and prepared.plan.recreates:
        raise NotSupported("a canary runs beside the live release, which a pinned port or `recreate` does not allow")
    return percent


async def canary_of(context: Context, service: Service) -> Release:
    """Return the release that is the service's canary.

    Raises:
        CommandRefused: it has none.
    """
    async with context.database.read() as session:
        found = await Canaries(session).current(service.id)
        release = await Releases(session).get(found) if found else None
    if release is None:
        raise CommandRefused(f"{service.name} has no canary that could be promoted")
    return release


async def begin_canary(context: Context, progress: Progress, prepared: Prepared, percent: int) -> None:
    """Start one instance, prove it, and give it its part of the calls; an earlier canary makes room.

    Raises:
        AlgoDockError: why not; nothing of the try is left.
    """
    new = await start_instances(context, progress, prepared, count=1)
    try:
        await prove(context, progress, prepared, new[0])
    except BaseException:
        await asyncio.shield(abandon(context, new))
        raise
    context.attempts.seal(progress.service.id)
    async with progress.step("canary", "checking"), context.database.transaction() as tx:
        rows, releases = Instances(tx.session), Releases(tx.session)
        service = await Services(tx.session).locked(progress.service.id)
        live = await releases.get(service.live_release_id) if service and service.live_release_id else None
        if service is None or live is None:
            raise CommandRefused("nothing serves any more beside which a canary could run")
        ids = [one.id for one in new]
        serving = [one for one in await rows.of_service(service.id) if one.phase == "serving"]
        others = [one.id for one in serving if one.release_id == live.id]
        await rows.set_phase([one.id for one in serving if one.release_id != live.id], "draining")
        await rows.set_phase(ids, "serving")
        progress.note(f"{percent} % of the calls")
        release = await releases.end_step(progress.release.id, progress.detail, state="canary", reason="")
        await releases.watch(release.id, context.tuning.watch_s)
        told = changed(
            service, live, instances=[*others, *ids], limits=limits_of(live.plan), settled=False,
            weights=shares(others, ids, percent),
        )  # fmt: skip
        tx.emit(told)
        tx.emit(changed(service, release, instances=[*others, *ids]))
        await Timeline(tx.session).note(
            service.id, "canary", actor=progress.actor, release=release, detail=f"{percent} % of the calls"
        )
        progress.release, progress.service = release, service
    failpoints.reach("deploy.canary")
    log.info("release_is_canary", algorithm=service.name, release=str(release.id), percent=percent)


async def end_canary(context: Context, service: Service, operation: Operation) -> bool:
    """Take its calls from the canary that a rollback is about, and end it; return whether it was about one.

    A rollback that names no release is about the canary, where there is one.
    """
    named = operation.arguments.get("canary")
    if operation.action != "rollback" or (named is None and operation.arguments.get("release_id") is not None):
        return False
    async with context.database.read() as session:
        found = UUID(str(named)) if named else await Canaries(session).current(service.id)
        release = await Releases(session).get(found) if found else None
    if release is None or release.state != "canary":
        return named is not None
    why = operation.arguments.get("why")
    reason = f"{WITHDRAWN}{why}" if why else f"ended by {operation.actor or 'a rollback'}"
    async with context.database.transaction() as tx:
        rows, releases = Instances(tx.session), Releases(tx.session)
        now = await Services(tx.session).locked(service.id)
        await releases.update(release.id, reason=reason)
        serving = [one for one in await rows.of_service(service.id) if one.phase == "serving"]
        await rows.set_phase([one.id for one in serving if one.release_id == release.id], "draining")
        rest = [one.id for one in serving if one.release_id != release.id]
        live = await releases.get(now.live_release_id) if now and now.live_release_id else None
        if now is not None and live is not None:
            tx.emit(changed(now, live, instances=rest, limits=limits_of(live.plan), weights=even(rest)))
    await drain_all(context, service.id)
    log.info("canary_ended", algorithm=service.name, release=str(release.id), reason=reason)
    return True


async def failed_to_promote(context: Context, service: Service, release: Release, error: AlgoDockError) -> None:
    """Write at a canary that was put back while it took over why that was."""
    async with context.database.transaction() as tx:
        now = await Services(tx.session).locked(service.id)
        canary = await Releases(tx.session).get(release.id)
        if now is not None and canary is not None and canary.state == "superseded":
            canary = await Releases(tx.session).update(canary.id, reason=f"promote: {error.detail}")
            tx.emit(changed(now, canary))
