"""Keeping instances alive: exits are counted and held back, what lives but cannot serve is started again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from algodock_common.errors import AlgoDockError
from algodock_deployer.domain.keeping import after_look
from algodock_deployer.handlers.last_words import last_words
from algodock_deployer.handlers.leftovers import end_leftovers, end_orphan_of
from algodock_deployer.handlers.status import show_status
from algodock_deployer.handlers.watching import know_plans
from algodock_deployer.repository import Instances, Services, Timeline

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from algodock_deployer.clients.processes import Seen
    from algodock_deployer.domain.keeping import Act
    from algodock_deployer.domain.releases import Instance
    from algodock_deployer.handlers.context import Context

__all__ = ["keep_alive"]

log = structlog.get_logger()


async def keep_alive(context: Context, instances: Sequence[Instance], seen: Mapping[str, Seen]) -> None:
    """Judge every serving instance by its process as it was just seen; note it, then act.

    A hold is written before its program is ended, and taken back when the program is seen to run again: a crash
    in between leaves what the next round puts right.
    """
    async with context.database.read() as session:
        now = await Instances(session).now()
        await know_plans(context, session, [one for one in instances if one.phase == "serving"])
    looked_at = [
        (one, seen[one.program]) for one in instances
        if one.program in seen and one.phase == "serving" and not context.background.busy(("keep", one.id))
    ]  # fmt: skip
    orphaned = await asyncio.gather(*(end_orphan_of(context, one, spare=found.pid) for one, found in looked_at))
    for (before, found), orphan in zip(looked_at, orphaned, strict=True):
        ailment = await _ailment(context, before, found)
        ended = "it exited" if found.exit_code is None else f"it exited with code {found.exit_code}"
        after, act = after_look(before, found.state, found.pid, now, ailment=ailment, ended=ended, orphaned=orphan)
        if after != before:
            await _note(context, before, after)
        if act:
            context.background.run(("keep", before.id), _act(context, after, act))


async def _ailment(context: Context, one: Instance, found: Seen) -> str:
    """Return why the process must not go on, or why the one before it ended; an empty string when it is well."""
    plan = context.vitals.plans.get(one.release_id)
    limit = context.tuning.limits(plan.manifest.resources.memory if plan else None).memory
    past = await context.confinement.past_memory(one.program, found.pid, limit) if limit and found.pid else ""
    return past or context.vitals.ailment(one.id, found.pid)


async def _note(context: Context, before: Instance, after: Instance) -> None:
    troubled = after.exits > before.exits
    detail = last_words(context, after) if troubled else ""
    async with context.database.transaction() as tx:
        await Services(tx.session).locked(after.service_id)  # before its instances, as whoever switches does
        await Instances(tx.session).keep(after)
        if troubled:
            row = f", {after.exits} times in a row" if after.exits > 1 else ""
            await Timeline(tx.session).note(
                after.service_id, "restarted", actor="deployer", ok=after.hold != "stopped",
                detail=f"instance {after.index}: {after.why}{row}",
            )  # fmt: skip
        await show_status(tx, after.service_id, detail)
    if troubled and after.pid:
        await end_leftovers(context, after, spare=after.pid)
    if troubled:
        log.warning(
            "crash_loop" if after.hold == "stopped" else "instance_exited",
            algorithm=after.algorithm, program=after.program, exits=after.exits, reason=after.why,
        )  # fmt: skip


async def _act(context: Context, one: Instance, act: Act) -> None:
    try:
        if act == "pause":
            await context.processes.pause(one.program)
            await end_leftovers(context, one)
        else:
            await context.processes.resume(one.program)
    except (AlgoDockError, TimeoutError) as error:
        log.warning("not_kept", program=one.program, act=act, error=str(error))  # the next round sees, and tries again
