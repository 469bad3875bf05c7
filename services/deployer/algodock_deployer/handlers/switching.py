"""The switch: in one transaction the new instances serve and the old ones drain; then links and names follow."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from algodock_common import failpoints
from algodock_deployer.clients.files import link
from algodock_deployer.domain.canaries import even
from algodock_deployer.domain.releases import changed
from algodock_deployer.handlers.documents import publish_documents
from algodock_deployer.handlers.specs import write_config
from algodock_deployer.repository import Instances, Releases, Services, Timeline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from algodock_deployer.domain.releases import Instance
    from algodock_deployer.handlers.building import Prepared
    from algodock_deployer.handlers.context import Context
    from algodock_deployer.handlers.progress import Progress

__all__ = ["follow_up", "switch"]

log = structlog.get_logger()


async def switch(context: Context, progress: Progress, prepared: Prepared, instances: Sequence[Instance]) -> None:
    """Let ``instances`` serve and everything else of the service drain."""
    async with progress.step("switch", "checking"):
        async with context.database.transaction() as tx:
            services, releases, rows = Services(tx.session), Releases(tx.session), Instances(tx.session)
            before = await services.locked(progress.service.id)
            present = await rows.of_service(progress.service.id)
            new = [one.id for one in instances]
            old = [one.id for one in present if one.id not in new and one.phase == "serving"]
            await rows.set_phase(new, "serving")
            await rows.set_phase(old, "draining")
            release = await releases.went_live(progress.release.id)
            if progress.moves:
                await releases.watch(release.id, context.tuning.watch_s)
            service = await services.update(
                progress.service.id, live_release_id=release.id, desired="running", status="running",
                health="healthy", message="",
                **({"instances": None} if before is not None and before.instances == 0 else {}),  # it was asleep
            )  # fmt: skip
            limits = prepared.plan.manifest.limits()
            tx.emit(changed(service, release, instances=new, limits=limits, weights=even(new)))
            gone = before.live_release_id if before else None
            served = await releases.get(gone) if gone is not None and gone != release.id else None
            detail = f"from {served.commit[:10]} to {release.commit[:10]}" if served else f"{len(new)} instances"
            await Timeline(tx.session).note(
                service.id, "switched", actor=progress.actor, release=release, detail=detail
            )
            if gone is not None and gone != release.id:
                replaced = await releases.get(gone)
                if replaced is not None and replaced.state == "live":
                    tx.emit(changed(service, await releases.update(gone, state="draining")))
        failpoints.reach("deploy.switched")
        progress.release, progress.service = release, service
    log.info("release_live", algorithm=service.name, release=str(release.id), commit=release.commit)
    context.bell.set()
    await follow_up(context, instances)
    context.background.run(("documents", release.id), publish_documents(context, service.id, release.id, prepared.plan))


async def follow_up(context: Context, instances: Sequence[Instance]) -> None:
    """Point the stable names (links, logs, ports) at what serves now."""
    first = instances[0]
    async with context.database.read() as session:
        ports = await Instances(session).serving_ports(context.node_id)
    await asyncio.to_thread(_point, context, first, ports)


def _point(context: Context, instance: Instance, ports: dict[str, int]) -> None:
    folders, name = context.folders, instance.algorithm
    folder = folders.service(name)
    link(folder / "current", folders.release(name, instance.release_id))
    link(folder / "start.sh", folder / "current" / "start.sh")
    if (folder / "current" / "venv").is_symlink():
        link(folder / "venv", folder / "current" / "venv")
    else:
        (folder / "venv").unlink(missing_ok=True)
    for stream in ("stdout", "stderr"):
        link(folders.stable_log(name, stream), folders.program_log(instance.program, stream))
    write_config(context, ports)
