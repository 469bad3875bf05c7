"""The watch after a switch: a new release that fails its probes gives the traffic back to the one before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from algodock_common.events import ServiceCommand
from algodock_common.identifiers import uuid7
from algodock_deployer.domain.plan import Plan
from algodock_deployer.handlers.last_words import last_words
from algodock_deployer.repository import Instances, Operations, Releases, Services

if TYPE_CHECKING:
    from algodock_deployer.domain.releases import Instance, Release, Service
    from algodock_deployer.handlers.context import Context

__all__ = ["withdraw_failing"]

log = structlog.get_logger()

MANY_EXITS = 3
"""Exits in a row after which a release that is still being watched is not believed in any more."""


async def withdraw_failing(context: Context) -> None:
    """Look once at every release that went live a short while ago, and withdraw those that fail."""
    async with context.database.read() as session:
        watched = await Releases(session).watched()
        present = await Instances(session).of_node(context.node_id) if watched else ()
    for release in watched:
        for instance in present:
            if instance.release_id != release.id or instance.phase != "serving":
                continue
            why = await _ailment(context, release, instance)
            if why:
                wrote = last_words(context, instance)
                await _withdraw(context, release, f"{why}\n{wrote}" if wrote else why)
                break


async def _ailment(context: Context, release: Release, instance: Instance) -> str:
    """Return what is wrong with an instance, nothing where it is well.

    What the registry cannot reach is asked once more from here: a registry in trouble is no release's fault.
    """
    if instance.exits >= MANY_EXITS:
        return f"{instance.exits} exits in a row, the last one because {instance.why}"
    if instance.reported == "silent" and instance.pid and release.plan is not None:
        manifest = Plan.model_validate(release.plan).manifest
        url = f"{instance.base_url}{manifest.health_path}"
        answer = await context.prober.ask(url, timeout_s=context.tuning.health_timeout_s)
        if not answer.healthy:
            return f"it fails its probes: {manifest.health_question}: {answer.said}"
    return ""


async def _withdraw(context: Context, release: Release, why: str) -> None:
    """Ask for a rollback, once, unless a command or a newer release waits that changes things anyway."""
    async with context.database.transaction() as tx:
        releases = Releases(tx.session)
        service = await Services(tx.session).locked(release.service_id)
        if service is None or not service.serving:
            return
        if release.state == "canary":
            await releases.watch(release.id, 0)
            await Operations(tx.session).add(_end(service, release, why), None)
            context.bell.set()
            return
        if service.live_release_id != release.id:
            return
        if await Operations(tx.session).next_to_do(service.id) or await releases.next_to_do(service.id):
            return
        before = await releases.proven_before(release)
        await releases.watch(release.id, 0)
        if before is None:
            log.warning("release_fails_and_is_the_first", algorithm=service.name, release=str(release.id), why=why)
            return
        await Operations(tx.session).add(_command(service, before, release, why), None)
    log.warning("release_withdrawn", algorithm=service.name, release=str(release.id), to=before.commit, why=why)
    context.bell.set()


def _end(service: Service, canary: Release, why: str) -> ServiceCommand:
    arguments = {"canary": str(canary.id), "why": why}
    return ServiceCommand(operation_id=uuid7(), algorithm_id=service.id, algorithm=service.name,
                          action="rollback", arguments=arguments, actor="watch")  # fmt: skip


def _command(service: Service, before: Release, failing: Release, why: str) -> ServiceCommand:
    arguments = {"release_id": str(before.id), "instead_of": str(failing.id), "why": why}
    return ServiceCommand(operation_id=uuid7(), algorithm_id=service.id, algorithm=service.name,
                          action="rollback", arguments=arguments, actor="watch")  # fmt: skip
