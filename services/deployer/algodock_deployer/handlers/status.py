"""The status that a service shows: what its serving instances were last seen to do, never what was hoped."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from algodock_deployer.domain.plan import limits_of
from algodock_deployer.domain.releases import assess, changed
from algodock_deployer.repository import Instances, Releases, Services, Timeline

if TYPE_CHECKING:
    from algodock_common.database import Transaction

__all__ = ["show_status"]


async def show_status(tx: Transaction, service_id: UUID, detail: str = "") -> None:
    """Write down, and tell, the status of a service that is meant to run, if it is another than before.

    ``detail`` is added to the reason, such as the last lines of what the program wrote.
    """
    services = Services(tx.session)
    service = await services.locked(service_id)
    if service is None or service.live_release_id is None or not service.serving or service.status == "stopping":
        return
    instances = await Instances(tx.session).of_service(service_id)
    serving = [one.id for one in instances if one.phase == "serving"]
    if not serving:
        return
    status, health, message = assess(instances)
    if message and detail:
        message = f"{message}: {detail}"
    told = service.message.startswith(message) or not (detail or status == "running")
    if (status, health) == (service.status, service.health) and told:
        return
    was = service.status
    service = await services.update(service_id, status=status, health=health, message=message)
    if "degraded" in {was, status} and was != status:
        kind = "degraded" if status == "degraded" else "recovered"
        await Timeline(tx.session).note(service_id, kind, actor="deployer", ok=kind == "recovered", detail=message)
    release = await Releases(tx.session).get(service.live_release_id) if service.live_release_id else None
    if release is not None and release.state == "live":
        tx.emit(changed(service, release, instances=serving, limits=limits_of(release.plan)))
