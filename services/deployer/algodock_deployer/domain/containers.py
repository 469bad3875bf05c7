"""What the Docker Engine is told of a program: its container, held to its limits and to its own folders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uuid import UUID

    from algodock_deployer.domain.programs import ProgramSpec

__all__ = ["HOME", "INSIDE", "PROGRAM", "container_config", "image_tag"]

HOME, PROGRAM = "algodock.home", "algodock.program"
"""Labels: whose container it is, and which program."""

INSIDE = "0.0.0.0"  # noqa: S104  # inside its container; outside it is published on the loopback address
PIDS = 512
LOG_OPTIONS = {"max-size": "10m", "max-file": "2"}


def image_tag(algorithm: str, release_id: UUID) -> str:
    """Return the name of the image that a release's Dockerfile becomes."""
    return f"algodock/{algorithm}:{str(release_id)[-12:]}"


def container_config(spec: ProgramSpec, home: str) -> dict[str, Any]:
    """Return the body of the engine's ``POST /containers/create``."""
    port = f"{spec.port}/tcp"
    host: dict[str, Any] = {
        "RestartPolicy": {"Name": "unless-stopped"},
        "Init": True,  # a program that is process 1 hears no SIGTERM unless it handles it, and reaps nobody
        "ReadonlyRootfs": True,
        "SecurityOpt": ["no-new-privileges"],
        "CapDrop": ["ALL"],
        "PidsLimit": spec.limits.processes or PIDS,
        "Tmpfs": {"/tmp": "rw,nosuid,nodev,mode=1777"},  # noqa: S108  # the container's own
        "Ulimits": [{"Name": "nofile", "Soft": spec.limits.open_files, "Hard": spec.limits.open_files}],
        "LogConfig": {"Type": "json-file", "Config": LOG_OPTIONS},
        "Mounts": [
            {"Type": "bind", "Source": str(path), "Target": str(path), "ReadOnly": True} for path in spec.mounts
        ],
    }
    if spec.limits.file_size:
        size = spec.limits.file_size
        host["Ulimits"].append({"Name": "fsize", "Soft": size, "Hard": size})
    if spec.limits.memory:
        host |= {"Memory": spec.limits.memory, "MemorySwap": spec.limits.memory}
    if spec.devices:
        host["DeviceRequests"] = [{"Driver": "nvidia", "DeviceIDs": list(spec.devices), "Capabilities": [["gpu"]]}]
    if spec.limits.cpu:
        host["NanoCpus"] = int(spec.limits.cpu * 1e9)
    config: dict[str, Any] = {
        "Image": spec.image,
        "Env": [f"{name}={value}" for name, value in sorted(spec.environment.items())],
        "Labels": {HOME: home, PROGRAM: spec.program},
        "HostConfig": host,
        "StopTimeout": 10,
    }
    if spec.port:
        config["ExposedPorts"] = {port: {}}
        host["PortBindings"] = {port: [{"HostIp": "127.0.0.1", "HostPort": str(spec.port)}]}
    if spec.argv:
        config["Cmd"] = list(spec.argv)
    if spec.mounts:
        config |= {"Entrypoint": [], "WorkingDir": str(spec.folder)}
    if spec.uid is not None:
        config["User"] = f"{spec.uid}:{spec.uid}"
    return config
