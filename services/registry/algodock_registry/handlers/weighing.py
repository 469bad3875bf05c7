"""Weights: how much of a service's traffic an instance gets; with none it drains, and goes on with what it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from algodock_registry.domain import LastInstance, UnknownName
from algodock_registry.handlers.routing import change_routing
from algodock_registry.repository import Instances

if TYPE_CHECKING:
    from uuid import UUID

    from algodock_registry.handlers.context import Context
    from algodock_registry.repository import Instance

__all__ = ["weigh"]


async def weigh(context: Context, instance_id: UUID, weight: int, *, force: bool = False) -> Instance:
    """Give an instance another weight and tell every router; 0: no new calls go there, open ones end.

    Raises:
        UnknownName: no instance has this id, or it is gone.
        LastInstance: no other ready instance would take calls, and nobody said ``force``.
    """
    async with context.database.transaction() as tx:
        instances = Instances(tx.session)
        known = (await instances.lock([instance_id])).get(instance_id)
        if known is None or known.state == "gone":
            raise UnknownName(f"no instance {instance_id} is registered")
    async with context.database.transaction() as tx:
        instances = Instances(tx.session)
        await instances.lock_algorithm(known.algorithm)
        present = await instances.lock_present(known.algorithm)
        instance = present.get(instance_id)
        if instance is None:
            raise UnknownName(f"no instance {instance_id} is registered")
        others = [one for one in present.values() if one.id != instance_id and one.state == "ready" and one.weight]
        if not weight and not others and not force:
            raise LastInstance(f"{instance.algorithm} has no other instance that takes calls; say force to end them")
        if instance.weight != weight:
            instance.weight = weight
            await change_routing(tx, [(instance, instance.state)], look_in=context.interval)
    return instance
