"""What an instance's program is started with: its environment, folders, limits, and the modules that it may import."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from algodock_deployer.clients.files import link, write_whole
from algodock_deployer.clients.tools import PATH
from algodock_deployer.domain.programs import ProgramSpec, common_module, ports_module, secrets_file
from algodock_deployer.handlers.containers import contained, in_container
from algodock_deployer.handlers.devices import device_variables

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from algodock_deployer.domain.devices import Device
    from algodock_deployer.domain.manifest import Manifest
    from algodock_deployer.domain.releases import Instance
    from algodock_deployer.handlers.building import Prepared
    from algodock_deployer.handlers.context import Context
    from algodock_deployer.handlers.progress import Progress

__all__ = ["Granted", "spec_of", "write_config"]


@dataclass(frozen=True)
class Granted:
    """What an instance was given beside its place: GPUs of the machine, and its service's secrets by name."""

    devices: Sequence[Device] = ()
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)


def _programs(context: Context, instance: Instance) -> Path:
    return context.folders.release(instance.algorithm, instance.release_id) / "programs"


def spec_of(
    context: Context, progress: Progress, prepared: Prepared, instance: Instance, granted: Granted
) -> ProgramSpec:
    """Return how the instance's program is started, its folders made, its secrets where its script finds them."""
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
        **device_variables(granted.devices),
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
    if prepared.plan.manifest.openai is not None:
        environment |= _chat(prepared.plan.manifest)
    if prepared.plan.uses_sdk:
        environment["ALGODOCK_DEBUG_LOG"] = str(_debug_log(context, name, prepared.uid))
    limits = context.tuning.limits(prepared.plan.manifest.resources.memory)
    progress.log.say(f"start: {' '.join(prepared.plan.argv(prepared.programs, instance.host, instance.port))}")
    made = ProgramSpec(
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
        devices=tuple(one.uuid for one in granted.devices),
    )
    if in_container(context, prepared.plan, name):  # its engine keeps its variables
        return contained(context, prepared, instance, replace(made, environment={**environment, **granted.secrets}))
    if granted.secrets:
        secrets = folders.secrets(name, instance.release_id, instance.program)
        write_whole(secrets, secrets_file(granted.secrets), 0o600)
        made = replace(made, secrets=secrets)
    return made


def _chat(manifest: Manifest) -> dict[str, str]:
    """Return what the SDK's program for a model elsewhere is told; the key comes with the secrets."""
    endpoint = manifest.openai
    if endpoint is None:
        return {}
    return {
        "ALGODOCK_CHAT_ENDPOINT": endpoint.endpoint,
        "ALGODOCK_CHAT_MODEL": endpoint.model,
        "ALGODOCK_CHAT_SECRET": endpoint.secret or "",
        "ALGODOCK_CHAT_TIMEOUT": str(manifest.timeout),
    }


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
