"""Keeping instances alive: exits are counted and held back, what lives but cannot serve is started again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from algodock_common.errors import AlgoDockError
from algodock_deployer.domain.keeping import after_look
from algodock_deployer.handlers.last_words import last_words
from algodock_deployer.handlers.status import show_status
from algodock_deployer.repository import Instances

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
    for before in instances:
        found = seen.get(before.program)
        if found is None or before.phase != "serving" or context.background.busy(("keep", before.id)):
            continue
        ailment = context.vitals.ailment(before.id, found.pid)
        ended = "it exited" if found.exit_code is None else f"it exited with code {found.exit_code}"
        after, act = after_look(before, found.state, found.pid, now, ailment=ailment, ended=ended)
        if after != before:
            await _note(context, before, after)
        if act:
            context.background.run(("keep", before.id), _act(context, after, act))


async def _note(context: Context, before: Instance, after: Instance) -> None:
    troubled = after.exits > before.exits
    detail = last_words(context, after) if troubled else ""
    async with context.database.transaction() as tx:
        await Instances(tx.session).keep(after)
        await show_status(tx, after.service_id, detail)
    if troubled:
        log.warning(
            "crash_loop" if after.hold == "stopped" else "instance_exited",
            algorithm=after.algorithm, program=after.program, exits=after.exits, reason=after.why,
        )  # fmt: skip


async def _act(context: Context, one: Instance, act: Act) -> None:
    try:
        if act == "pause":
            await context.processes.pause(one.program)
        else:
            await context.processes.resume(one.program)
    except (AlgoDockError, TimeoutError) as error:
        log.warning("not_kept", program=one.program, act=act, error=str(error))  # the next round sees, and tries again
