"""What a person asked for, done: start, stop, restart, remove, roll back, scale."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import structlog

from algodock_common.errors import AlgoDockError
from algodock_common.observability import span
from algodock_deployer.domain.errors import CommandRefused, ReleaseNotFound
from algodock_deployer.domain.plan import limits_of
from algodock_deployer.domain.releases import ENDED_RELEASES, STARTABLE, changed
from algodock_deployer.domain.timeline import done
from algodock_deployer.handlers.canary import canary_of, end_canary, failed_to_promote
from algodock_deployer.handlers.cleaning import unlink_service
from algodock_deployer.handlers.draining import drain_all
from algodock_deployer.handlers.progress import Progress, passes
from algodock_deployer.handlers.rollout import deploy, roll_out, stop_serving
from algodock_deployer.handlers.scaling import scale
from algodock_deployer.repository import Instances, Operations, Releases, Services, Timeline

if TYPE_CHECKING:
    from algodock_deployer.domain.releases import Operation, Release, Service
    from algodock_deployer.handlers.context import Context

__all__ = ["run_operation"]

log = structlog.get_logger()


async def run_operation(context: Context, service: Service, operation: Operation) -> None:
    """Do a command and write down how it ended; begun again after a crash, it ends the same."""
    async with context.database.transaction() as tx:
        await Operations(tx.session).begin(operation.id)
    reason = ""
    with span(operation.action, parent=operation.traceparent, algodock__algorithm=service.name):
        try:
            await _do(context, service, operation)
        except AlgoDockError as error:
            reason = error.detail
        except Exception as error:
            if passes(error):
                raise
            log.exception("operation_failed_inside", operation=str(operation.id))
            reason = f"{type(error).__name__}: {error}"
    await _finish(context, service.id, operation, reason)


async def _do(context: Context, service: Service, operation: Operation) -> None:
    if operation.action in {"stop", "remove"}:
        await _stop(context, service, remove=operation.action == "remove")
    elif operation.action == "redeploy":
        await _redeploy(context, service, operation)
    elif operation.action == "scale":
        await scale(context, service, operation)
    elif operation.action == "promote":
        await _promote(context, service, operation)
    elif "instance_id" in operation.arguments:
        await _replace(context, service, operation)
    elif not await end_canary(context, service, operation):
        await _start_again(context, service, operation)


async def _start_again(context: Context, service: Service, operation: Operation) -> None:
    """Start, restart or roll back."""
    instead_of = operation.arguments.get("instead_of")
    if instead_of is not None and str(service.live_release_id) != instead_of:
        await _withdrawn(context, service, operation)  # gone from there already, perhaps in a try that was killed
        return
    release = await _target(context, service, operation)
    if operation.action == "start" and await _serves(context, service):
        return
    await _again(context, service, release, operation.actor)
    if instead_of is not None:
        await _withdrawn(context, service, operation)


async def _withdrawn(context: Context, service: Service, operation: Operation) -> None:
    """Write down, at the release that was withdrawn and at its service, why it does not serve any more."""
    why = f"rolled back: {operation.arguments['why']}"
    async with context.database.transaction() as tx:
        services, releases = Services(tx.session), Releases(tx.session)
        release = await releases.get(UUID(str(operation.arguments["instead_of"])))
        now = await services.locked(service.id)
        if release is None or now is None or release.state not in {"draining", "kept"}:
            return
        release = await releases.update(release.id, reason=why)
        now = await services.update(now.id, message=f"{release.commit[:12]} {why}")
        tx.emit(changed(now, release, serving=now.serving))


async def _stop(context: Context, service: Service, *, remove: bool) -> None:
    """Take the traffic away, let open calls end, end the processes; then it is stopped."""
    await stop_serving(context, service.id, desired="removed" if remove else "stopped")
    await drain_all(context, service.id)
    async with context.database.transaction() as tx:
        services, releases = Services(tx.session), Releases(tx.session)
        stopped = await services.update(service.id, status="stopped", health="unknown", message="")
        if stopped.live_release_id is not None:
            release = await releases.get(stopped.live_release_id)
            if release is not None and release.state == "draining":
                release = await releases.update(release.id, state="kept")
            if release is not None:
                tx.emit(changed(stopped, release, serving=False))
    if remove:
        unlink_service(context.folders, service.name)


async def _promote(context: Context, service: Service, operation: Operation) -> None:
    """Let the canary take over from the live release, one instance after the other."""
    async with context.database.read() as session:
        live = await Releases(session).get(service.live_release_id) if service.live_release_id else None
    wanted = operation.arguments.get("release_id")
    if wanted is not None and live is not None and str(live.id) == wanted:
        return  # done already, in a try that was killed
    release = await canary_of(context, service)
    try:
        await _again(context, service, release, operation.actor)
    except AlgoDockError as error:
        await failed_to_promote(context, service, release, error)
        raise


async def _replace(context: Context, service: Service, operation: Operation) -> None:
    """Restart the service, and end the instance that this is about without waiting for its calls; gone: nothing."""
    wanted = str(operation.arguments["instance_id"])
    async with context.database.read() as session:
        present = await Instances(session).of_service(service.id)
    found = next((one for one in present if str(one.id) == wanted), None)
    if found is None:
        return
    context.drains.hurry(found.id)
    if found.phase != "serving":
        return
    try:
        await _again(context, service, await _target(context, service, operation), operation.actor)
    except BaseException:
        context.drains.calm(found.id)
        raise


async def _redeploy(context: Context, service: Service, operation: Operation) -> None:
    """Build and start the newest commit anew, as if it had been pushed again.

    Its release has the operation's id, so a crash in the middle goes on with the same one.

    Raises:
        ReleaseNotFound: nothing was ever pushed.
        CommandRefused: the release failed, and why.
    """
    async with context.database.transaction() as tx:
        releases = Releases(tx.session)
        release = await releases.get(operation.id)
        if release is None:
            newest = await releases.newest(service.id)
            if newest is None:
                raise ReleaseNotFound(f"{service.name} has no release yet; push its code")
            release = await releases.again(newest, operation.id, operation.actor, operation.traceparent)
            tx.emit(changed(service, release))
    if release.state not in ENDED_RELEASES:
        await deploy(context, service, release)
    async with context.database.read() as session:
        ended = await Releases(session).get(operation.id)
    if ended is not None and ended.state == "failed":
        raise CommandRefused(ended.reason)


async def _target(context: Context, service: Service, operation: Operation) -> Release:
    """Return the release that the command is about.

    Raises:
        ReleaseNotFound: the service has no such release, or none at all that was ever live.
        CommandRefused: the release failed or never went live.
    """
    wanted = operation.arguments.get("release_id") if operation.action == "rollback" else None
    async with context.database.read() as session:
        releases = Releases(session)
        if wanted is not None:
            release = await releases.get(_uuid(str(wanted)))
            if release is None or release.service_id != service.id:
                raise ReleaseNotFound(f"{service.name} has no release {wanted}")
        elif operation.action == "rollback":
            release = await releases.before(service.id, service.live_release_id)
            if release is None:
                raise ReleaseNotFound(f"{service.name} has no release before the one that serves")
        else:
            live = service.live_release_id
            release = await releases.get(live) if live else await releases.before(service.id, None)
            if release is None:
                raise ReleaseNotFound(f"{service.name} has no release that was ever live; push its code")
    if release.state not in STARTABLE:
        raise CommandRefused(f"release {release.id} is {release.state}: only one that was live can serve again")
    return release


def _uuid(value: str) -> UUID:
    try:
        return UUID(value)
    except ValueError as error:
        raise ReleaseNotFound(f"{value!r} is no release's id") from error


async def _serves(context: Context, service: Service) -> bool:
    """Return whether there is nothing to start: every serving instance's process runs."""
    if not service.serving:
        return False
    async with context.database.read() as session:
        serving = [one for one in await Instances(session).of_service(service.id) if one.phase == "serving"]
    seen = [await context.processes.look(one.program) for one in serving]
    return bool(seen) and all(one is not None and one.alive for one in seen)


async def _again(context: Context, service: Service, release: Release, actor: str) -> None:
    """Start a release that was live before, beside whatever serves, and give it the traffic."""
    async with context.database.transaction() as tx:
        services = Services(tx.session)
        if not service.serving:
            service = await services.update(service.id, status="starting", message="")
        release = await Releases(tx.session).begin_again(release.id)
    progress = Progress(context, service, release)
    progress.actor = actor
    await roll_out(context, progress)


async def _finish(context: Context, service_id: UUID, operation: Operation, reason: str) -> None:
    """End the operation; a failed one shows its reason, and the service what it really does."""
    async with context.database.transaction() as tx:
        services = Services(tx.session)
        await Operations(tx.session).finish(operation.id, reason=reason)
        service = await services.locked(service_id)
        if service is None:
            return
        live = await Releases(tx.session).get(service.live_release_id) if service.live_release_id else None
        detail = reason or str(operation.arguments.get("reason") or "")
        await Timeline(tx.session).note(
            service_id, done(operation.action), actor=operation.actor, ok=not reason, release=live, detail=detail
        )
        if not reason:
            return
        message = f"{operation.action}: {reason}"
        if service.serving:
            service = await services.update(service_id, message=message)
        else:
            service = await services.update(service_id, status="failed", message=message)
        if live is not None:
            serving = [one.id for one in await Instances(tx.session).of_service(service_id) if one.phase == "serving"]
            tx.emit(changed(service, live, serving=service.serving, instances=serving, limits=limits_of(live.plan)))
    log.info("operation_failed", algorithm=service.name, action=operation.action, reason=reason)
