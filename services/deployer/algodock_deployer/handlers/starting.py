"""From a prepared release to instances that are proven healthy: lease, start, probe."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

from algodock_common import failpoints
from algodock_deployer.clients.files import link, write_whole
from algodock_deployer.clients.registry import LeaseRequest
from algodock_deployer.clients.tools import PATH
from algodock_deployer.domain.errors import ProgramFailed
from algodock_deployer.domain.programs import ProgramSpec, common_module, ports_module, program_name
from algodock_deployer.domain.releases import Instance
from algodock_deployer.handlers.containers import contained, in_container
from algodock_deployer.handlers.last_words import last_words
from algodock_deployer.handlers.leftovers import end_leftovers, remove_temporary
from algodock_deployer.handlers.progress import patiently
from algodock_deployer.repository import Instances

if TYPE_CHECKING:
    from collections.abc import Sequence

    from algodock_deployer.clients.registry import Lease
    from algodock_deployer.domain.manifest import Manifest
    from algodock_deployer.handlers.building import Prepared
    from algodock_deployer.handlers.context import Context
    from algodock_deployer.handlers.progress import Progress

__all__ = ["PROBE_EVERY_S", "abandon", "must_run", "start_instances", "wait_healthy", "write_config"]

PROBE_EVERY_S = 0.05
LOOK_EVERY_S = 0.5
ELSEWHERE_GRACE_S = 5.0
REFUSED_GRACE_S = 15.0


async def start_instances(
    context: Context, progress: Progress, prepared: Prepared, *, count: int | None = None
) -> Sequence[Instance]:
    """Lease, start and prove the release's instances, or ``count`` more; on any error none of them is left.

    Raises:
        ProgramFailed: one exited, never became healthy, or listens on another port.
        AlgoDockError: no port, or the registry or supervisord stayed away.
    """
    started: list[Instance] = []
    try:
        async with progress.step("lease", "starting"):
            for _ in range(count or prepared.plan.instances(progress.service.instances)):
                started.append(await _lease(context, progress, prepared, started))
            progress.note(", ".join(f"{one.host}:{one.port}" for one in started))
        async with progress.step("start", "starting"):
            for instance in started:
                spec = _spec(context, progress, prepared, instance)
                await patiently(lambda spec=spec: context.processes.start(spec),  # type: ignore[misc]
                                within_s=context.tuning.patience_s)  # fmt: skip
            failpoints.reach("deploy.started")
        async with progress.step("probe", "checking"):
            manifest = prepared.plan.manifest
            await asyncio.gather(*(wait_healthy(context, instance, manifest) for instance in started))
    except BaseException:
        await asyncio.shield(abandon(context, started))
        raise
    return started


async def abandon(context: Context, instances: Sequence[Instance]) -> None:
    """End instances that never served: their processes, then their leases, then their rows."""
    for instance in instances:
        await patiently(lambda one=instance: context.processes.stop(one.program),  # type: ignore[misc]
                        within_s=context.tuning.patience_s)  # fmt: skip
        failpoints.reach("deploy.ended")
        await end_leftovers(context, instance)
        await remove_temporary(context, instance)
        await patiently(lambda one=instance: context.registry.release(one.id),  # type: ignore[misc]
                        within_s=context.tuning.patience_s)  # fmt: skip
        failpoints.reach("deploy.freed")
        async with context.database.transaction() as tx:
            await Instances(tx.session).remove(instance.id)
        context.drains.forget(instance.id)


async def _lease(context: Context, progress: Progress, prepared: Prepared, started: Sequence[Instance]) -> Instance:
    """Get a place for one more instance and note it, before anything is started there."""
    release, service, manifest = progress.release, progress.service, prepared.plan.manifest
    async with context.database.read() as session:
        present = await Instances(session).of_service(service.id)
    taken = {one.index for one in (*present, *started) if one.release_id == release.id}
    index = next(number for number in range(1, len(taken) + 2) if number not in taken)
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
    async with context.database.transaction() as tx:
        await Instances(tx.session).add(instance)
    _token_file(context, instance, lease)
    return instance


def _token_file(context: Context, instance: Instance, lease: Lease) -> None:
    """Keep the instance's own token where only the platform reads it; its start script hands it on."""
    write_whole(context.folders.token(instance.algorithm, instance.release_id, instance.program), lease.token, 0o600)


def _programs(context: Context, instance: Instance) -> Path:
    return context.folders.release(instance.algorithm, instance.release_id) / "programs"


def _spec(context: Context, progress: Progress, prepared: Prepared, instance: Instance) -> ProgramSpec:
    folders, name = context.folders, instance.algorithm
    home = folders.home(name)
    programs = _programs(context, instance)
    script = programs / f"{instance.program}.sh"
    temporary = folders.temporary(name, instance.program)
    temporary.mkdir(mode=0o700, parents=True, exist_ok=True)
    if prepared.uid is not None:
        for folder in (temporary.parent, temporary):
            os.chown(folder, prepared.uid, prepared.uid)
    write_config(context)
    link(folders.release(name, instance.release_id) / "start.sh", script)
    environment = {
        "LANG": os.environ.get("LANG", "C.UTF-8"),
        **prepared.plan.manifest.env,
        "HOST": instance.host,
        "PORT": str(instance.port),
        "SERVICE_HOST": instance.host,
        "SERVICE_PORT": str(instance.port),
        "ALGODOCK_NAME": name,
        "ALGODOCK_RELEASE": str(instance.release_id),
        "ALGODOCK_TOKEN": folders.token(name, instance.release_id, instance.program).read_text("ascii"),
        "ALGODOCK_HEARTBEAT_URL": context.tuning.heartbeat_url,
        "PATH": os.pathsep.join([*map(str, prepared.paths), PATH]),
        "HOME": str(home),
        "TMPDIR": str(temporary),
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": os.pathsep.join(str(path) for path in (folders.import_path, folders.config)),
    }
    if prepared.plan.uses_sdk:
        environment["ALGODOCK_DEBUG_LOG"] = str(_debug_log(context, name, prepared.uid))
    limits = context.tuning.limits(prepared.plan.manifest.resources.memory)
    progress.log.say(f"start: {' '.join(prepared.plan.argv(prepared.programs, instance.host, instance.port))}")
    spec = ProgramSpec(
        program=instance.program,
        argv=tuple(prepared.plan.argv(prepared.programs, instance.host, instance.port)),
        folder=folders.code(name, instance.release_id),
        script=script,
        pid_file=folders.algorithms / "run" / f"{instance.program}.pid",
        stdout=folders.program_log(instance.program, "stdout"),
        stderr=folders.program_log(instance.program, "stderr"),
        environment=environment,
        uid=prepared.uid,
        limits=limits,
        groups=context.confinement.groups(instance.program, limits),
        mode=context.modes.of(name),
    )
    return contained(context, prepared, instance, spec) if in_container(context, prepared.plan, name) else spec


def _debug_log(context: Context, name: str, uid: int | None) -> Path:
    """Return the log that the SDK writes by itself, made so that its program may."""
    path = context.folders.logs / f"{name}_debug.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    if uid is not None:
        os.chown(path, uid, uid)
    return path


def write_config(context: Context, ports: dict[str, int] | None = None) -> None:
    """Write the modules that programs may import; ``ports`` only when they changed."""
    config = context.folders.config
    if not (config / "common.py").exists():
        write_whole(config / "__init__.py", "")
        write_whole(config / "common.py", common_module(context.folders.services))
        link(context.folders.import_path / "config", config)
    if ports is not None or not (config / "ports.py").exists():
        write_whole(config / "ports.py", ports_module(ports or {}))


async def wait_healthy(context: Context, instance: Instance, manifest: Manifest) -> None:
    """Probe until the instance answers as healthy; notice at once when it exits.

    Raises:
        ProgramFailed: it exited, never became healthy, or listens on another port.
    """
    clock = asyncio.get_running_loop()
    begun, question = clock.time(), manifest.health_question
    looked_at = refused_since = 0.0
    pid = 0
    while True:
        now = clock.time()
        if now - looked_at >= LOOK_EVERY_S or (pid and not _exists(pid)):
            pid, looked_at = await must_run(context, instance, pid), now
        answer = await context.prober.ask(f"{instance.base_url}{manifest.health_path}")
        if answer.healthy and await _is_its_own(context, instance, pid):
            await must_run(context, instance, pid)
            return
        refused_since = (refused_since or now) if answer.missing else 0.0
        if refused_since and now - refused_since > REFUSED_GRACE_S:
            what = "such a route" if manifest.protocol == "http" else "that service"
            raise ProgramFailed(f"{question}: {answer.said}; the program needs {what}, or `health:` another")
        if now - begun > ELSEWHERE_GRACE_S and answer.status is None:
            await _not_elsewhere(context, instance, pid)
        if now - begun > context.tuning.start_timeout_s:
            wrote = last_words(context, instance)
            raise ProgramFailed(
                f"not healthy within {context.tuning.start_timeout_s:.0f} s: {question}: {answer.said}"
                + (f"\n{wrote}" if wrote else "")
            )
        await asyncio.sleep(PROBE_EVERY_S)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


async def must_run(context: Context, instance: Instance, pid: int) -> int:
    """Return the program's process id.

    Raises:
        ProgramFailed: it has exited, with the error that it wrote last.
    """
    seen = await patiently(lambda: context.processes.look(instance.program), within_s=context.tuning.patience_s)
    if seen is not None and seen.alive and pid in {0, seen.pid}:
        return seen.pid
    code = f" with code {seen.exit_code}" if seen is not None and seen.exit_code is not None else ""
    wrote = last_words(context, instance)
    raise ProgramFailed(
        f"the program exited{code}: {wrote}" if wrote else f"the program exited{code} and wrote nothing"
    )


async def _is_its_own(context: Context, instance: Instance, pid: int) -> bool:
    """Return whether the port that answered is the instance's, and not another program's that came first."""
    listeners = await context.prober.listeners(pid)
    return listeners is None or any(listener.port == instance.port for listener in listeners)


async def _not_elsewhere(context: Context, instance: Instance, pid: int) -> None:
    listeners = await context.prober.listeners(pid)
    if listeners and all(listener.port != instance.port for listener in listeners):
        bound = ", ".join(f"{listener.host}:{listener.port}" for listener in listeners)
        raise ProgramFailed(
            f"the program listens on {bound}, not on {instance.host}:{instance.port}; it must take $HOST and $PORT"
        )
