"""A release changed: what serves becomes ready, what served drains, what ended gives its port back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from algodock_common.database import accept_once
from algodock_registry.domain import Seen, plan_release
from algodock_registry.handlers.routing import change_routing
from algodock_registry.repository import Instances

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from algodock_common.events import Event, InstanceState, ReleaseChanged
    from algodock_registry.handlers.context import Context
    from algodock_registry.repository import Instance

__all__ = ["CONSUMER", "apply_release", "seen"]

CONSUMER = "registry"
log = structlog.get_logger()


def seen(instances: Iterable[Instance]) -> list[Seen]:
    """Return rows as the domain's plans take them."""
    return [Seen(one.id, one.release_id, one.state, one.created_at) for one in instances]


async def apply_release(context: Context, event: Event[ReleaseChanged]) -> None:
    """Move the algorithm's instances as the release says; once, however often the event comes."""
    release = event.data
    async with context.database.transaction() as tx:
        if not await accept_once(tx, CONSUMER, event):
            return
        instances = Instances(tx.session)
        await instances.lock_algorithm(release.algorithm)
        present = await instances.lock_present(release.algorithm)
        moves: list[tuple[Instance, InstanceState]] = [
            (present[step.instance_id], step.to) for step in plan_release(release, event.time, seen(present.values()))
        ]
        if release.state == "live" and release.serving:
            moves = [*_take_over(release, present, moves), *moves]
            missing = [str(one) for one in release.instances if one not in present]
            if missing:
                log.warning("release.lists_unknown_instances", algorithm=release.algorithm, instances=missing)
        await change_routing(tx, moves, look_in=context.interval)


def _take_over(
    release: ReleaseChanged, present: dict[UUID, Instance], moves: list[tuple[Instance, InstanceState]]
) -> list[tuple[Instance, InstanceState]]:
    """Write the release's limits and configuration to what serves of it, and weights; return what only this changes."""
    said = release.limits.model_dump(), release.config_version
    moving = {instance.id for instance, _ in moves}
    changed: list[tuple[Instance, InstanceState]] = []
    for instance_id in release.instances:
        instance = present.get(instance_id)
        if instance is None:
            continue
        was = instance.limits, instance.config_version, instance.weight
        if instance.release_id == release.release_id:
            instance.limits, instance.config_version = said
        instance.weight = release.weights.get(instance_id, instance.weight)
        if (instance.limits, instance.config_version, instance.weight) == was:
            continue
        if instance.id not in moving:
            changed.append((instance, instance.state))
    return changed
