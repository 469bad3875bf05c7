"""Looking at serving instances from outside, every few seconds: do they still answer?"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from algodock_deployer.domain.plan import Plan
from algodock_deployer.repository import Instances, Releases

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncSession

    from algodock_deployer.domain.releases import Instance
    from algodock_deployer.handlers.context import Context

__all__ = ["know_plans", "watch_health"]

PARALLEL = 16


async def know_plans(context: Context, session: AsyncSession, instances: Sequence[Instance]) -> None:
    """Read the plans of the releases that these instances run, those that are not known yet."""
    for release_id in {one.release_id for one in instances} - context.vitals.plans.keys():
        release = await Releases(session).get(release_id)
        if release is not None and release.plan:
            context.vitals.plans[release_id] = Plan.model_validate(release.plan)


async def watch_health(context: Context) -> None:
    """Ask every serving instance of this node once how it is."""
    async with context.database.read() as session:
        rows = await Instances(session).of_node(context.node_id)
        instances = [one for one in rows if one.phase == "serving" and one.pid and not one.hold]
        await know_plans(context, session, instances)
    context.vitals.keep({one.id for one in rows}, {one.release_id for one in rows})
    places = asyncio.Semaphore(PARALLEL)
    await asyncio.gather(*(_look(context, one, places) for one in instances if one.release_id in context.vitals.plans))


async def _look(context: Context, one: Instance, places: asyncio.Semaphore) -> None:
    manifest = context.vitals.plans[one.release_id].manifest
    async with places:
        answer = await context.prober.ask(
            f"{one.base_url}{manifest.health_path}", timeout_s=context.tuning.health_timeout_s
        )
    said = f"{manifest.health_question}: {answer.said}"
    context.vitals.note(
        one, well=answer.healthy, said=said, now=asyncio.get_running_loop().time(),
        patience_s=manifest.timeout, start_s=context.tuning.start_timeout_s,
    )  # fmt: skip
