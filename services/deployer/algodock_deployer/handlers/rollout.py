"""Rolling out: a release is prepared, started beside the old one, proven, and only then given the traffic."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import structlog

from algodock_common.errors import AlgoDockError
from algodock_common.observability import span
from algodock_deployer.domain.releases import changed
from algodock_deployer.handlers.attempts import Superseded
from algodock_deployer.handlers.building import prepare
from algodock_deployer.handlers.canary import begin_canary, canary_percent
from algodock_deployer.handlers.cleaning import remove_folder
from algodock_deployer.handlers.draining import drain_all, start_drains
from algodock_deployer.handlers.progress import Progress, passes, patiently
from algodock_deployer.handlers.proving import pass_gate
from algodock_deployer.handlers.rolling import roll
from algodock_deployer.handlers.starting import abandon, start_instances
from algodock_deployer.handlers.switching import switch
from algodock_deployer.repository import Instances, Releases, Services, Timeline

if TYPE_CHECKING:
    from algodock_deployer.domain.releases import Release, Service
    from algodock_deployer.handlers.building import Prepared
    from algodock_deployer.handlers.context import Context

__all__ = ["LOG_TYPE", "deploy", "roll_out", "stop_serving", "sweep", "took_place"]

log = structlog.get_logger()
LOG_TYPE = "text/plain; charset=utf-8"


async def deploy(context: Context, service: Service, release: Release) -> None:
    """Bring a pushed release live, or write down why it cannot be; the old one serves on either way."""
    async with context.database.transaction() as tx:
        releases = Releases(tx.session)
        release = await releases.begin_again(release.id)
        await releases.begin_build(release.id, context.node_id)
        newer = await releases.queued_after(release)
    with span("deploy", parent=release.traceparent, algodock__algorithm=service.name, algodock__commit=release.commit):
        progress = Progress(context, service, release)
        progress.log.say(f"{service.name} {release.commit[:12]} {release.message}".rstrip())
        try:
            if newer is None:
                await context.attempts.run(service.id, roll_out(context, progress))
            else:  # it came while nobody was there to end this one
                await _superseded(context, progress, took_place(newer.commit))
        except Superseded as given_up:
            await _superseded(context, progress, given_up.reason)
        except AlgoDockError as error:
            await _failed(context, progress, error.detail)
        except Exception as error:
            if passes(error):
                raise
            log.exception("release_failed_inside", release=str(release.id))
            await _failed(context, progress, f"{type(error).__name__}: {error}")
    outcome = "succeeded" if progress.release.state in {"live", "canary"} else "failed"
    if outcome == "failed":
        await remove_folder(context, progress.release)
    context.background.run(("log", release.id), _store_log(context, progress, outcome))


async def roll_out(context: Context, progress: Progress) -> None:
    """Prepare, start, prove and switch, one by one; what recreates is stopped first, and brought back after a failure.

    Raises:
        AlgoDockError: why not; nothing of the try is left.
    """
    await sweep(context, progress)
    with span("build"):
        prepared = await prepare(context, progress)
    percent = await canary_percent(context, progress, prepared) if progress.service.serving else 0
    recreated = False
    if prepared.plan.recreates and progress.service.serving:
        recreated = True
        async with progress.step("stop-old", "starting"):
            await stop_serving(context, progress.service.id, desired="running")
            await drain_all(context, progress.service.id)
    if progress.service.serving and not recreated and await _any_lives(context, progress.service.id):
        if percent:
            await begin_canary(context, progress, prepared, percent)
        else:
            await roll(context, progress, prepared)
    else:
        await _begin(context, progress, prepared, recreated=recreated)
    await start_drains(context)


async def _begin(context: Context, progress: Progress, prepared: Prepared, *, recreated: bool) -> None:
    """Start all instances together where none serves, and switch."""
    try:
        instances = await start_instances(context, progress, prepared)
        await pass_gate(context, progress, prepared, instances)
    except AlgoDockError:
        if recreated:
            await _bring_back(context, progress)
        raise
    context.attempts.seal(progress.service.id)
    await switch(context, progress, prepared, instances)


async def _any_lives(context: Context, service_id: UUID) -> bool:
    """Return whether something serves that could be replaced one by one; after a reboot nothing may."""
    async with context.database.read() as session:
        serving = [one for one in await Instances(session).of_service(service_id) if one.phase == "serving"]
    for one in serving:
        seen = await patiently(lambda one=one: context.processes.look(one.program),  # type: ignore[misc]
                               within_s=context.tuning.patience_s)  # fmt: skip
        if seen is not None and seen.alive:
            return True
    return False


def took_place(commit: str) -> str:
    """Return what is said of a release that made room for a newer commit."""
    return f"commit {commit[:12]} took its place"


async def stop_serving(context: Context, service_id: UUID, *, desired: str) -> None:
    """Take the traffic from everything that serves, and let it drain."""
    async with context.database.transaction() as tx:
        services, releases, rows = Services(tx.session), Releases(tx.session), Instances(tx.session)
        service = await services.update(service_id, desired=desired, status="stopping")
        await rows.set_phase(
            [one.id for one in await rows.of_service(service_id) if one.phase == "serving"], "draining"
        )
        if service.live_release_id is None:
            return
        release = await releases.get(service.live_release_id)
        if release is not None and release.state == "live":
            release = await releases.update(release.id, state="draining")
        if release is not None:
            tx.emit(changed(service, release, serving=False))


async def sweep(context: Context, progress: Progress) -> None:
    """End what an earlier try of this service left in the middle: a crash may have come anywhere.

    Between a lease and its row, too: what the registry has starting here and no row stands for is freed.
    """
    service, within_s = progress.service, context.tuning.patience_s
    async with context.database.read() as session:
        present = await Instances(session).of_service(service.id)
    await abandon(context, [one for one in present if one.phase == "starting"])
    known = {one.id for one in present}
    leased = await patiently(lambda: context.registry.instances(service.name, context.node_id), within_s=within_s)
    for route in leased:
        if route.state == "starting" and route.release_id is not None and route.instance_id not in known:
            log.warning("lease_without_a_row_freed", algorithm=service.name, instance=str(route.instance_id))
            await patiently(lambda one=route: context.registry.release(one.instance_id), within_s=within_s)  # type: ignore[misc]


async def _bring_back(context: Context, progress: Progress) -> None:
    """Start again what was stopped for a release that failed."""
    async with context.database.read() as session:
        service = await Services(session).find(str(progress.service.id))
        live = service.live_release_id if service else None
        release = await Releases(session).get(live) if live else None
    if service is None or release is None or release.id == progress.release.id:
        return
    back = Progress(context, service, release)
    try:
        prepared = await prepare(context, back)
        await switch(context, back, prepared, await start_instances(context, back, prepared))
    except AlgoDockError as error:
        log.warning("old_release_not_back", algorithm=service.name, release=str(release.id), error=error.detail)
        async with context.database.transaction() as tx:
            await Services(tx.session).update(service.id, status="failed", message=error.detail)


async def _superseded(context: Context, progress: Progress, reason: str) -> None:
    """Write down that the release was given up for something newer; what serves goes on as it was."""
    progress.log.say(f"superseded: {reason}")
    async with context.database.transaction() as tx:
        service = await Services(tx.session).locked(progress.service.id)
        progress.release = await Releases(tx.session).end_step(
            progress.release.id, progress.detail, state="superseded", reason=reason
        )
        if service is None:
            return
        await Timeline(tx.session).note(
            service.id, "superseded", actor=progress.actor, release=progress.release, detail=reason
        )
        tx.emit(changed(service, progress.release))
    log.info("release_superseded", algorithm=progress.service.name, release=str(progress.release.id), reason=reason)


async def _failed(context: Context, progress: Progress, detail: str) -> None:
    """Write down why, with the step; a service that serves an older release goes on as it was."""
    reason = f"{progress.release.step}: {detail}" if progress.release.step else detail
    progress.log.say(f"failed: {reason}")
    async with context.database.transaction() as tx:
        services, releases = Services(tx.session), Releases(tx.session)
        service = await services.locked(progress.service.id)
        progress.release = await releases.end_step(progress.release.id, progress.detail, state="failed", reason=reason)
        await Timeline(tx.session).note(
            progress.service.id, "failed", actor=progress.actor, ok=False, release=progress.release, detail=reason
        )
        if service is None:
            return
        if not service.serving:
            service = await services.update(service.id, status="failed", message=reason)
        serving = [one.id for one in await Instances(tx.session).of_service(service.id) if one.phase == "serving"]
        tx.emit(changed(service, progress.release, instances=serving))  # the registry ends its other ones
    log.info("release_failed", algorithm=progress.service.name, release=str(progress.release.id), reason=reason)


async def _store_log(context: Context, progress: Progress, outcome: str) -> None:
    """Keep the build's output for good; while it runs, and should this fail, it is read from its file."""
    key = f"builds/{progress.release.id}.log"
    try:
        await context.store.put_file(key, progress.log.path, LOG_TYPE)
    except AlgoDockError as error:
        log.warning("build_log_not_stored", release=str(progress.release.id), error=error.detail)
        key = ""
    async with context.database.transaction() as tx:
        await Releases(tx.session).end_build(progress.release.id, outcome=outcome, log_key=key)
