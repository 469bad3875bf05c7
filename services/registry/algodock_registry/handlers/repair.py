"""The reconciler: closes the distance that a lost event, or a deployer that died, left behind.

Most rounds are one query that finds nothing. Where instances stand still, the deployer is asked
what it holds to be true. Nothing is done if an event came in between, and nothing is taken away
before the answer was the same twice.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from algodock_common.errors import AlgoDockError
from algodock_registry.domain import Deployed, plan_repair
from algodock_registry.handlers.releases import seen
from algodock_registry.handlers.routing import change_routing
from algodock_registry.repository import Instances

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from algodock_registry.domain import Seen, Transition
    from algodock_registry.handlers.context import Context

__all__ = ["Repair"]

STARTING_PATIENCE = timedelta(seconds=5)
DRAINING_PATIENCE = timedelta(minutes=2)
FULL_ROUND_EVERY = 12
"""Rounds between two that ask about every algorithm, not only about the suspicious."""

log = structlog.get_logger()


class Repair:
    """Remembers between rounds what it would have done, to do it only the second time."""

    def __init__(self, context: Context, *, keep_gone: timedelta, forget_silent: timedelta) -> None:
        """``keep_gone``: how long rows of gone instances stay; ``forget_silent``: see the settings."""
        self._context = context
        self._keep_gone = keep_gone
        self._forget_silent = forget_silent
        self._round = 0
        self._intended: dict[str, Sequence[Transition]] = {}

    async def round(self) -> None:
        """Look once over everything.

        Raises:
            AlgoDockError: the deployer does not answer; nothing was changed.
        """
        everything = self._round % FULL_ROUND_EVERY == FULL_ROUND_EVERY - 1
        self._round += 1
        async with self._context.database.read() as session:
            instances = Instances(session)
            names = await instances.suspicious(STARTING_PATIENCE, DRAINING_PATIENCE, everything=everything)
            lost = await instances.lost_elsewhere(self._forget_silent) if everything else ()
        self._intended = {name: plan for name, plan in self._intended.items() if name in names}
        for name in names:
            await self._mend(name)
        if everything:
            await self._clean(lost)

    async def _mend(self, algorithm: str) -> None:
        async with self._context.database.read() as session:
            instances = Instances(session)
            sequence = await instances.applied_sequence(algorithm)
            present = seen(await instances.find(algorithm=algorithm))
        plan = await self._plan(algorithm, present)
        before, self._intended[algorithm] = self._intended.get(algorithm), plan
        if plan != before:
            plan = [step for step in plan if step.to == "ready"]
        if not plan:
            return
        async with self._context.database.transaction() as tx:
            instances = Instances(tx.session)
            await instances.lock_algorithm(algorithm)
            locked = await instances.lock_present(algorithm)
            if await instances.applied_sequence(algorithm) != sequence or seen(locked.values()) != present:
                return  # what the plan was made from is no longer so
            log.warning("routing.repaired", algorithm=algorithm, plan=[f"{one.instance_id} {one.to}" for one in plan])
            moves = [(locked[one.instance_id], one.to) for one in plan]
            await change_routing(tx, moves, look_in=self._context.interval)

    async def _plan(self, algorithm: str, present: Sequence[Seen]) -> Sequence[Transition]:
        deployer = self._context.deployer
        service = await deployer.service(algorithm)
        waiting = {one.release_id for one in present if one.release_id and one.state in {"starting", "draining"}}
        releases = {release_id: await deployer.release_state(release_id) for release_id in waiting}
        deployed = Deployed(
            status=service.status if service else None,
            instances=frozenset(one.instance_id for one in service.instances) if service else frozenset(),
            releases=releases,
        )
        return plan_repair(deployed, present, well=await self._well(algorithm, deployed))

    async def _well(self, algorithm: str, deployed: Deployed) -> frozenset[UUID]:
        """Return the starting instances that the deployer says serve, and that answer a probe."""
        async with self._context.database.read() as session:
            found = await Instances(session).find(algorithm=algorithm)
        asked = [one for one in found if one.state == "starting" and one.id in deployed.instances]
        ailments = await asyncio.gather(*(self._context.probe.ailment(one.base_url, one.health_path) for one in asked))
        return frozenset(one.id for one, ailment in zip(asked, ailments, strict=True) if ailment is None)

    async def _clean(self, lost: Sequence[UUID]) -> None:
        async with self._context.database.transaction() as tx:
            instances = Instances(tx.session)
            silent = [one for one in (await instances.lock(lost)).values() if one.state == "silent"]
            await change_routing(tx, [(one, "gone") for one in silent], look_in=self._context.interval)
            await instances.forget(self._keep_gone)

    async def run(self, interval_s: float) -> None:
        """Look over everything every ``interval_s`` seconds, for ever."""
        while True:
            await asyncio.sleep(interval_s)
            try:
                await self.round()
            except AlgoDockError as error:
                log.info("repair.put_off", error=repr(error))
            except Exception as error:  # noqa: BLE001  # the next round may do better
                log.warning("repair.failed", error=repr(error))
