"""What others ask: the routes, where a name is served, and how its instances are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from algodock_registry.domain import UnknownName
from algodock_registry.repository import Instances

if TYPE_CHECKING:
    from collections.abc import Sequence

    from algodock_registry.handlers.context import Context
    from algodock_registry.repository import Instance

__all__ = ["discover", "find_instances", "routes"]


async def routes(context: Context) -> tuple[int, Sequence[Instance]]:
    """Return the epoch and every instance that is not gone, as one moment had them."""
    async with context.database.read() as session:
        return await Instances(session).routes()


async def find_instances(
    context: Context, *, algorithm: str | None, node_id: str | None, gone: bool
) -> Sequence[Instance]:
    """Return instances, oldest first; those that are gone only when asked for."""
    async with context.database.read() as session:
        return await Instances(session).find(algorithm=algorithm, node_id=node_id, gone=gone)


async def discover(context: Context, name: str) -> Sequence[Instance]:
    """Return the instances that take calls for ``name`` now; none when its service is down.

    Raises:
        UnknownName: nothing by this name was ever registered.
    """
    async with context.database.read() as session:
        instances = Instances(session)
        present = await instances.find(algorithm=name)
        if not present and not await instances.known(name):
            raise UnknownName(f"no service {name!r} is registered")
        return [one for one in present if one.state == "ready" and one.weight]
