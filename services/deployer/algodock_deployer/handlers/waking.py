"""Waking: a call or a task for a service that a rule let sleep asks for an instance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from algodock_common.events import ScaleRule, ServiceCommand
from algodock_common.identifiers import uuid7
from algodock_deployer.domain.errors import ServiceNotFound
from algodock_deployer.repository import Instances, Operations, Releases, Services

if TYPE_CHECKING:
    from algodock_deployer.handlers.context import Context

__all__ = ["WAKER", "wake"]

log = structlog.get_logger()

WAKER: Final = "wake"
"""The actor of what a call or a task asks for."""


async def wake(context: Context, name: str) -> bool:
    """Ask for an instance if the service sleeps; return whether one is coming, or there, so that it is worth waiting.

    Raises:
        ServiceNotFound: there is no such service.
    """
    async with context.database.read() as session:
        found = await Services(session).find(name)
    if found is None:
        raise ServiceNotFound(f"there is no service {name!r}")
    async with context.database.transaction() as tx:
        service = await Services(tx.session).locked(found.id)
        if service is None or not service.serving:
            return False
        await Services(tx.session).were_busy([service.id])
        if any(one.phase == "serving" for one in await Instances(tx.session).of_service(service.id)):
            return True
        if await Releases(tx.session).next_to_do(service.id):
            return True
        waiting = await Operations(tx.session).next_to_do(service.id)
        if waiting is not None:
            return waiting[0].action not in {"stop", "remove"}
        if not service.asleep:
            return False  # the reconciler brings it back, if it can be
        rule = ScaleRule.model_validate(service.scale_rule) if service.scale_rule else None
        count = max(1, rule.min) if rule is not None else 1
        command = ServiceCommand(operation_id=uuid7(), algorithm_id=service.id, algorithm=service.name, action="scale",
                                 arguments={"instances": count, "by": "rule"}, actor=WAKER)  # fmt: skip
        await Operations(tx.session).add(command, None)
    log.info("service_woken", algorithm=service.name)
    context.bell.set()
    return True
