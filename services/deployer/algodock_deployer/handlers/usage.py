"""What each instance of a service uses of this machine, just now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from algodock_deployer.clients.usage import measure
from algodock_deployer.domain.errors import ServiceNotFound
from algodock_deployer.repository import Instances, Services

if TYPE_CHECKING:
    from algodock_deployer.clients.usage import Usage
    from algodock_deployer.domain.releases import Instance, Service
    from algodock_deployer.handlers.context import Context

__all__ = ["usage_of"]


async def usage_of(context: Context, name: str) -> tuple[Service, list[tuple[Instance, Usage | None]]]:
    """Return a service's instances, those that start or drain too, with what each uses; None: no process of it is here.

    Raises:
        ServiceNotFound: there is no such service.
        DriverUnavailable: what runs the programs does not answer.
    """
    async with context.database.read() as session:
        service = await Services(session).find(name)
        if service is None or service.desired == "removed":
            raise ServiceNotFound(f"there is no service {name!r}")
        instances = await Instances(session).of_service(service.id)
    seen = [await context.processes.look(one.program) for one in instances]
    used = await measure({found.program: found.pid for found in seen if found and found.alive and found.pid})
    return service, [(one, used.get(one.program)) for one in instances]
