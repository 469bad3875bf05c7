"""A branch has a new head: queue its release, once, in place of older ones that still wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from algodock_common.database import accept_once
from algodock_common.observability import current_traceparent
from algodock_deployer.domain.releases import changed
from algodock_deployer.handlers.rollout import took_place
from algodock_deployer.repository import Releases, Services, Timeline

if TYPE_CHECKING:
    from algodock_common.events import CodePushed, Event
    from algodock_deployer.handlers.context import Context

__all__ = ["CONSUMER", "take_push"]

CONSUMER = "deployer"
log = structlog.get_logger()


async def take_push(context: Context, event: Event[CodePushed]) -> None:
    """Queue a release of the pushed commit; return at once, so that the message is acknowledged.

    The newest release's commit pushed again is the same release, unless that one failed: then it is
    tried again. A branch that was forced back to an older commit gets a release of it.
    """
    code = event.data
    async with context.database.transaction() as tx:
        if not await accept_once(tx, CONSUMER, event):
            return
        services, releases = Services(tx.session), Releases(tx.session)
        await services.put(code.algorithm_id, code.algorithm)
        service = await services.locked(code.algorithm_id)
        newest = await releases.newest(code.algorithm_id)
        if service is None or (
            newest is not None
            and newest.commit == code.commit
            and newest.state not in {"failed", "superseded"}
            and service.desired != "removed"
        ):
            log.info("push_is_known", algorithm=code.algorithm, commit=code.commit)
            return
        reason = took_place(code.commit)
        superseded = await releases.supersede_queued(service.id, reason)
        release = await releases.add(code, current_traceparent())
        if not service.serving:
            desired = "stopped" if service.desired == "removed" else service.desired
            service = await services.update(service.id, status="building", desired=desired, message="")
        timeline = Timeline(tx.session)
        for old in superseded:
            tx.emit(changed(service, old))
            await timeline.note(service.id, "superseded", actor=code.pusher, release=old, detail=reason)
        branch = code.ref.removeprefix("refs/heads/")
        said = f"{branch}: {code.message}".rstrip(": ")
        await timeline.note(service.id, "pushed", actor=code.pusher, release=release, detail=said)
        tx.emit(changed(service, release))
    log.info("release_queued", algorithm=code.algorithm, commit=code.commit, release=str(release.id))
    if context.attempts.supersede(release.service_id, reason):
        log.info("attempt_given_up", algorithm=code.algorithm, reason=reason)
    context.bell.set()
