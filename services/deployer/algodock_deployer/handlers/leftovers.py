"""What an instance leaves behind when its process has ended: daemons of its own, and its temporary files."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from algodock_deployer.domain.releases import Instance
    from algodock_deployer.handlers.context import Context

__all__ = ["end_leftovers", "remove_temporary"]

log = structlog.get_logger()


async def end_leftovers(context: Context, one: Instance, *, spare: int = 0) -> None:
    """End every process that came from the instance, but for process ``spare`` and what is below it."""
    token = context.folders.token(one.algorithm, one.release_id, one.program)
    carried = token.read_text(encoding="ascii") if token.exists() else ""
    ended = await context.confinement.end_strays(one.program, carried, spare=spare)
    if ended:
        log.warning("leftovers_of_instance_ended", algorithm=one.algorithm, program=one.program, processes=ended)


async def remove_temporary(context: Context, one: Instance) -> None:
    """Remove the instance's own temporary folder."""
    folder = context.folders.temporary(one.algorithm, one.program)
    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
