"""From a prepared release to instances that are proven healthy: lease, start, probe."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from algodock_common import failpoints
from algodock_common.errors import AlgoDockError
from algodock_deployer.clients.files import write_whole
from algodock_deployer.clients.registry import LeaseRequest
from algodock_deployer.domain.errors import EngineRefused, NoDevice, PortLost, ProgramFailed
from algodock_deployer.domain.programs import program_name
from algodock_deployer.domain.releases import Instance
from algodock_deployer.handlers.containers import in_container
from algodock_deployer.handlers.devices import lease_devices
from algodock_deployer.handlers.leftovers import end_leftovers, remove_temporary
from algodock_deployer.handlers.probing import wait_healthy
from algodock_deployer.handlers.progress import patiently
from algodock_deployer.handlers.secrets import values_of
from algodock_deployer.handlers.specs import Granted, spec_of
from algodock_deployer.repository import Instances, Timeline

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Sequence
    from uuid import UUID

    from algodock_deployer.clients.registry import Lease
    from algodock_deployer.domain.devices import Device
    from algodock_deployer.handlers.building import Prepared
    from algodock_deployer.handlers.context import Context
    from algodock_deployer.handlers.progress import Progress

__all__ = ["abandon", "start_instances"]

log = structlog.get_logger()

OTHER_PORTS = 3
"""Ports that a start may lose to other programs before it is given up."""

_IN_USE = re.compile(r"address (?:already )?in use|EADDRINUSE|already allocated", re.IGNORECASE)


async def start_instances(
    context: Context, progress: Progress, prepared: Prepared, *, count: int | None = None
) -> Sequence[Instance]:
    """Lease, start and prove the release's instances, or ``count`` more; on any error none of them is left.

    A port that another program takes before ours has it is given back, and another one is leased.

    Raises:
        ProgramFailed: one exited, never became healthy, or listens on another port.
        AlgoDockError: no port, or the registry or supervisord stayed away.
    """
    start = _Start(context, progress, prepared)
    try:
        async with progress.step("lease", "starting"):
            for _ in range(count or prepared.plan.instances(progress.service.instances)):
                instance, devices = await _lease(context, progress, prepared, start.instances)
                start.instances.append(instance)
                start.devices[instance.id] = devices
            progress.note(", ".join(start.place(one) for one in start.instances))
        async with progress.step("start", "starting"):
            for place in range(len(start.instances)):
                await start.launch(place)
            failpoints.reach("deploy.started")
        async with progress.step("probe", "checking"):
            await _together(start.reach(place) for place in range(len(start.instances)))
    except BaseException:
        await asyncio.shield(abandon(context, start.instances))
        raise
    return start.instances


@dataclass
class _Start:
    """Instances on their way; each has its place in ``instances`` and may get another port on the way."""

    context: Context
    progress: Progress
    prepared: Prepared
    instances: list[Instance] = field(default_factory=list)
    devices: dict[UUID, Sequence[Device]] = field(default_factory=dict)
    lost: int = 0

    def place(self, one: Instance) -> str:
        """Return where it is, for people."""
        gpus = ", ".join(str(device.index) for device in self.devices[one.id])
        return f"{one.host}:{one.port}" + (f" (GPU {gpus})" if gpus else "")

    async def launch(self, place: int) -> None:
        """Start one's program."""
        while True:
            one = self.instances[place]
            granted = Granted(self.devices[one.id], await values_of(self.context, one.service_id))
            spec = spec_of(self.context, self.progress, self.prepared, one, granted)
            try:
                await patiently(lambda spec=spec: self.context.processes.start(spec),  # type: ignore[misc]
                                within_s=self.context.tuning.patience_s)  # fmt: skip
            except EngineRefused as error:  # a container's port is bound before its program runs
                await self._elsewhere(place, error)
            else:
                return

    async def reach(self, place: int) -> None:
        """Wait until one answers as healthy."""
        while True:
            try:
                await wait_healthy(self.context, self.instances[place], self.prepared.plan.manifest)
            except ProgramFailed as error:
                await self._elsewhere(place, error)
                await self.launch(place)
            else:
                return

    async def _elsewhere(self, place: int, error: AlgoDockError) -> None:
        """Lease another port where the one that failed has lost its own to another program; else raise ``error``."""
        one = self.instances[place]
        holder = await self._holder(one, error)
        if not holder:
            raise error
        said = f"port {one.port} was taken by {holder} before the program had it"
        if self.prepared.plan.manifest.port is not None or self.lost >= OTHER_PORTS:
            raise ProgramFailed(f"{error.detail}\n{said}") from error
        self.lost += 1
        await abandon(self.context, [one], blocked=True)
        others = [other for other in self.instances if other is not one]
        new, devices = await _lease(self.context, self.progress, self.prepared, others, index=one.index)
        self.instances[place], self.devices[new.id] = new, devices
        said = f"{said}; it has {new.port} now"
        self.progress.note(said)
        log.warning("port_lost", algorithm=one.algorithm, program=one.program, port=one.port, to=holder, now=new.port)
        async with self.context.database.transaction() as tx:
            await Timeline(tx.session).note(
                one.service_id, "port lost", actor="deployer", ok=False, release=self.progress.release,
                detail=f"instance {one.index}: {said}",
            )  # fmt: skip

    async def _holder(self, one: Instance, error: AlgoDockError) -> str:
        """Return who has the instance's port now that all of its own processes are ended; nothing when nobody has."""
        await patiently(lambda: self.context.processes.stop(one.program), within_s=self.context.tuning.patience_s)
        await end_leftovers(self.context, one)
        holder = await self.context.prober.holder(one.host, one.port)
        if not holder and (isinstance(error, PortLost) or _names_port(error.detail, one.port)):
            holder = "another program"  # which has ended since
        return holder


def _names_port(said: str, port: int) -> bool:
    return bool(_IN_USE.search(said) and re.search(rf"\b{port}\b", said))


async def _together(works: Iterable[Coroutine[object, object, None]]) -> None:
    """Run all to their end; when one fails none goes on behind it."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


async def abandon(context: Context, instances: Sequence[Instance], *, blocked: bool = False) -> None:
    """End instances that never served: their processes, then their leases, then their rows.

    ``blocked`` says that others use their ports, so that these are not leased again for a while.

    Raises:
        AlgoDockError: what runs them, or the registry, stayed away; they drain from now on, so that the reconciler
            ends them when it is back, and no program is left to run for nobody.
    """
    for number, instance in enumerate(instances):
        try:
            await _end(context, instance, blocked=blocked)
        except Exception:
            async with context.database.transaction() as tx:
                await Instances(tx.session).set_phase([one.id for one in instances[number:]], "draining")
            raise


async def _end(context: Context, instance: Instance, *, blocked: bool) -> None:
    within_s = context.tuning.patience_s
    await patiently(lambda: context.processes.stop(instance.program), within_s=within_s)
    failpoints.reach("deploy.ended")
    await end_leftovers(context, instance)
    await remove_temporary(context, instance)
    context.folders.secrets(instance.algorithm, instance.release_id, instance.program).unlink(missing_ok=True)
    await patiently(lambda: context.registry.release(instance.id, blocked=blocked), within_s=within_s)
    failpoints.reach("deploy.freed")
    async with context.database.transaction() as tx:
        await Instances(tx.session).remove(instance.id)
    context.drains.forget(instance.id)


async def _lease(
    context: Context, progress: Progress, prepared: Prepared, started: Sequence[Instance], *, index: int = 0
) -> tuple[Instance, Sequence[Device]]:
    """Get a place for one more instance, and its GPUs, and note them, before anything is started there."""
    release, service, manifest = progress.release, progress.service, prepared.plan.manifest
    async with context.database.read() as session:
        present = await Instances(session).of_service(service.id)
    taken = {one.index for one in (*present, *started) if one.release_id == release.id}
    index = index or next(number for number in range(1, len(taken) + 2) if number not in taken)
    known = await context.devices.inventory() if manifest.resources.gpu else ()
    request = LeaseRequest(
        algorithm_id=service.id,
        algorithm=service.name,
        release_id=release.id,
        commit=release.commit,
        node_id=context.node_id,
        host=context.tuning.host,
        index=index,
        pinned_port=manifest.port,
        limits=manifest.limits(),
        health_path=manifest.health_path,
        sends_heartbeats=prepared.plan.sends_heartbeats and not in_container(context, prepared.plan, service.name),
        protocol=manifest.protocol,
    )
    lease = await patiently(lambda: context.registry.lease(request), within_s=context.tuning.patience_s)
    failpoints.reach("deploy.leased")
    instance = Instance(
        id=lease.instance_id,
        service_id=service.id,
        release_id=release.id,
        algorithm=service.name,
        index=index,
        node_id=context.node_id,
        host=lease.host,
        port=lease.port,
        base_url=lease.base_url,
        program=program_name(service.name, index, release.id),
        phase="starting",
    )
    try:
        async with context.database.transaction() as tx:
            await Instances(tx.session).add(instance)
            devices = await lease_devices(tx.session, instance, manifest.resources, known)
    except NoDevice:
        await patiently(lambda: context.registry.release(instance.id), within_s=context.tuning.patience_s)
        raise
    _token_file(context, instance, lease)
    return instance, devices


def _token_file(context: Context, instance: Instance, lease: Lease) -> None:
    """Keep the instance's own token where only the platform reads it; its start script hands it on."""
    write_whole(context.folders.token(instance.algorithm, instance.release_id, instance.program), lease.token, 0o600)
