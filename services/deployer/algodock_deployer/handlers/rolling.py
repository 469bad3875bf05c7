"""Rolling: instances of one release take the place of another's one by one, and never serve fewer than before."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from algodock_common import failpoints
from algodock_common.errors import AlgoDockError
from algodock_deployer.domain.canaries import even
from algodock_deployer.domain.errors import ProgramFailed
from algodock_deployer.domain.plan import limits_of
from algodock_deployer.domain.releases import changed
from algodock_deployer.handlers.building import prepare
from algodock_deployer.handlers.draining import drain_all
from algodock_deployer.handlers.probing import wait_healthy
from algodock_deployer.handlers.progress import Progress
from algodock_deployer.handlers.proving import prove
from algodock_deployer.handlers.starting import abandon, start_instances
from algodock_deployer.handlers.switching import switch
from algodock_deployer.repository import Instances, Releases, Services, Timeline

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from algodock_deployer.domain.manifest import Manifest
    from algodock_deployer.domain.releases import Instance
    from algodock_deployer.handlers.building import Prepared
    from algodock_deployer.handlers.context import Context

__all__ = ["roll"]

log = structlog.get_logger()

MANY_EXITS = 3
"""Exits in a row after which an instance that has just joined is not believed in any more."""


async def roll(context: Context, progress: Progress, prepared: Prepared) -> None:
    """Let the release take over from what serves, one instance after the other; the last step is the switch.

    A new one starts beside the others, is proven and gets calls; then one old one drains, and its port is free
    before the next is leased. With one instance that is a switch. What an earlier try has got to is gone on from.

    Raises:
        AlgoDockError: why not; as many instances of the old release serve as before.
    """
    serving = await _serving(context, progress.service.id)
    fresh = [] if progress.release.id == progress.service.live_release_id else [
        one for one in serving if one.release_id == progress.release.id
    ]  # fmt: skip
    try:
        await _take_over(context, progress, prepared, fresh, before=len(serving))
    except AlgoDockError as error:
        await _put_back(context, progress, len(serving), error)
        raise


async def _take_over(
    context: Context, progress: Progress, prepared: Prepared, fresh: list[Instance], *, before: int
) -> None:
    wanted = prepared.plan.instances(progress.service.instances)
    while True:
        if len(fresh) < wanted:
            new = await start_instances(context, progress, prepared, count=1)
            try:
                if fresh:
                    await _still_well(context, fresh, prepared.plan.manifest)
                else:
                    await prove(context, progress, prepared, new[0])
            except BaseException:
                await asyncio.shield(abandon(context, new))
                raise
            fresh.extend(new)
        if len(fresh) >= wanted:
            break
        context.attempts.seal(progress.service.id)
        await _join(context, progress, fresh, before)
        await drain_all(context, progress.service.id)
    context.attempts.seal(progress.service.id)
    await switch(context, progress, prepared, fresh)


async def _join(context: Context, progress: Progress, fresh: Sequence[Instance], before: int) -> None:
    """Give the new instances their part of the calls; one of the others drains where there are more than before.

    Routers are told in the name of the release that is live: it is so until the last of it has gone.
    """
    async with progress.step("join", "checking"), context.database.transaction() as tx:
        rows = Instances(tx.session)
        service = await Services(tx.session).locked(progress.service.id)
        live = await Releases(tx.session).get(service.live_release_id) if service and service.live_release_id else None
        if service is None or live is None:
            raise ProgramFailed("nothing serves any more that could be replaced")
        new = [one.id for one in fresh]
        await rows.set_phase(new, "serving")
        others = [
            one.id for one in await rows.of_service(service.id) if one.phase == "serving" and one.id not in new
        ]  # fmt: skip
        if others and len(others) + len(new) > before:
            await rows.set_phase(others[:1], "draining")
            others = others[1:]
        weights = even([*new, *others]) if progress.release.state == "canary" else None
        told = changed(
            service, live, instances=[*new, *others], limits=limits_of(live.plan), settled=False, weights=weights
        )
        tx.emit(told)
        progress.note(f"{len(new)} new, {len(others)} old")
    failpoints.reach("deploy.joined")


async def _still_well(context: Context, joined: Sequence[Instance], manifest: Manifest) -> None:
    """See that those that have joined are still well before one more of the old ones goes.

    Raises:
        ProgramFailed: one exits again and again, or does not answer any more.
    """
    ids = {one.id for one in joined}
    for one in await _serving(context, joined[0].service_id):
        if one.id in ids and (one.hold or one.exits >= MANY_EXITS):
            raise ProgramFailed(f"instance {one.index} serves no longer: {one.exits} exits in a row, {one.why}")
    for one in joined:
        await wait_healthy(context, one, manifest)


async def _put_back(context: Context, progress: Progress, before: int, error: AlgoDockError) -> None:
    """Let the old release take back, in the same way, what the one that failed has taken from it."""
    async with context.database.read() as session:
        service = await Services(session).find(str(progress.service.id))
        live = await Releases(session).get(service.live_release_id) if service and service.live_release_id else None
    serving = await _serving(context, progress.service.id)
    if service is None or live is None or all(one.release_id == live.id for one in serving):
        return
    log.warning("rolling_back", algorithm=service.name, release=str(progress.release.id), reason=error.detail)
    async with context.database.transaction() as tx:
        live = await Releases(tx.session).begin_again(live.id)
    back = Progress(context, service, live)
    back.actor = "deployer"
    try:
        prepared = await prepare(context, back)
        old = [one for one in serving if one.release_id == live.id]
        while len(old) < before:
            old.extend(await start_instances(context, back, prepared, count=1))
            if len(old) < before:
                await _join(context, back, old, before)
                await drain_all(context, service.id)
        await switch(context, back, prepared, old)
        await drain_all(context, service.id)
    except AlgoDockError as again:
        log.warning("old_release_not_back", algorithm=service.name, release=str(live.id), error=again.detail)
        async with context.database.transaction() as tx:
            message = f"in the middle between two releases, and the old one did not start again: {again.detail}"
            await Services(tx.session).update(service.id, message=message)
            await Timeline(tx.session).note(
                service.id, "failed", actor="deployer", ok=False, release=live, detail=message
            )


async def _serving(context: Context, service_id: UUID) -> list[Instance]:
    async with context.database.read() as session:
        return [one for one in await Instances(session).of_service(service_id) if one.phase == "serving"]
