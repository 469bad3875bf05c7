"""One turn of work on one service: the release or the command that waited longest, done to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from algodock_deployer.domain.releases import IN_PROGRESS
from algodock_deployer.handlers.operations import run_operation
from algodock_deployer.handlers.rollout import deploy
from algodock_deployer.repository import Operations, Releases, Services

if TYPE_CHECKING:
    from algodock_deployer.handlers.context import Context

__all__ = ["take_turn"]


async def take_turn(context: Context, service_id: UUID) -> bool:
    """Do the next thing that waits for a service; return whether there was one.

    What a crash left in the middle comes first, then whatever was asked for earlier.
    """
    async with context.database.read() as session:
        service = await Services(session).find(str(service_id))
        release = await Releases(session).next_to_do(service_id)
        waiting = await Operations(session).next_to_do(service_id)
    if service is None or (release is None and waiting is None):
        return False
    if waiting is not None:
        operation, asked_at = waiting
        begun = release is not None and release.state in IN_PROGRESS
        earlier = release is None or release.created_at is None or asked_at <= release.created_at
        if operation.state == "running" or (earlier and not begun):
            await run_operation(context, service, operation)
            return True
    if release is not None:
        await deploy(context, service, release)
    return True
