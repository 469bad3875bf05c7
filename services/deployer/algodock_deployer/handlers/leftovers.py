"""What an instance leaves behind when its process has ended: daemons of its own, and its temporary files."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

import structlog

from algodock_deployer.clients.orphans import end_orphan

if TYPE_CHECKING:
    from algodock_deployer.domain.releases import Instance
    from algodock_deployer.handlers.context import Context

__all__ = ["end_leftovers", "end_orphan_of", "remove_temporary"]

log = structlog.get_logger()


async def end_leftovers(context: Context, one: Instance, *, spare: int = 0) -> None:
    """End every process that came from the instance, but for process ``spare`` and what is below it."""
    token = context.folders.token(one.algorithm, one.release_id, one.program)
    carried = token.read_text(encoding="ascii") if token.exists() else ""
    ended = await context.confinement.end_strays(one.program, carried, spare=spare)
    if ended:
        log.warning("leftovers_of_instance_ended", algorithm=one.algorithm, program=one.program, processes=ended)


async def end_orphan_of(context: Context, one: Instance, *, spare: int) -> bool:
    """End the process that the instance was known to have, if it lives on; return whether it did.

    ``spare`` is the process that its manager has for it now.
    """
    token = context.folders.token(one.algorithm, one.release_id, one.program)
    if not one.pid or one.pid == spare or not token.exists():
        return False
    ended = await asyncio.to_thread(end_orphan, one.pid, token.read_text(encoding="ascii"), spare=spare)
    if ended:
        log.warning("orphan_ended", algorithm=one.algorithm, program=one.program, pid=one.pid)
    return ended


async def remove_temporary(context: Context, one: Instance) -> None:
    """Remove the instance's own temporary folder."""
    folder = context.folders.temporary(one.algorithm, one.program)
    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
