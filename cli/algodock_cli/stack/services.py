"""The five services and the workers as declared programs, and the one environment they share."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path

from algodock_cli.stack.data_folder import DataFolder, project_folder
from algodock_cli.stack.errors import StackError
from algodock_cli.stack.ports import PortBlock
from algodock_cli.stack.programs import Program
from algodock_cli.stack.secret_store import Secrets

__all__ = ["MOST_WORKERS", "SERVICES", "platform_environment", "preferred_ports", "service_programs", "worker_names"]

SERVICES = {
    "gateway": ("algodock_gateway", 10),
    "gitea-sync": ("algodock_gitea_sync", 11),
    "deployer": ("algodock_deployer", 12),
    "registry": ("algodock_registry", 13),
    "runner": ("algodock_runner", 14),
}
"""Each service's package, and the place of its port in the data folder's block."""

_SERVER_PLACES = {"postgres": 32, "redis": 79, "kafka": 92, "objects": 90}
_FIRST_WORKER_PLACE = 40
MOST_WORKERS = 32

_SESSION_VARIABLES = frozenset({
    "COLUMNS", "LINES", "OLDPWD", "PWD", "SHLVL", "TERM", "_",
    "PYTHONDONTWRITEBYTECODE", "PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV", "HTTP_PORT",
})  # fmt: skip
"""What belongs to the person's shell, or would change how our own interpreter runs."""


def worker_names(workers: int) -> list[str]:
    """Return the workers' names: ``worker-1``, ``worker-2`` and so on."""
    return [f"worker-{number}" for number in range(1, workers + 1)]


def preferred_ports(block: PortBlock, servers: list[str], workers: int) -> dict[str, int]:
    """Return the port that each server, service and worker would have in this block."""
    places = {name: _SERVER_PLACES[name] for name in servers}
    places |= {name: place for name, (_, place) in SERVICES.items()}
    places |= {name: _FIRST_WORKER_PLACE + number for number, name in enumerate(worker_names(workers))}
    return {name: block.first + place for name, place in places.items()}


def platform_environment(
    folder: DataFolder,
    secrets: Secrets,
    block: PortBlock,
    ports: Mapping[str, int],
    servers: Mapping[str, str],
    given: Mapping[str, str],
) -> dict[str, str]:
    """Return the variables that the platform decides; what the person's environment says goes before.

    ``servers`` is what the embedded servers say of themselves, ``given`` the person's environment.

    Raises:
        StackError: an object store is named without its keys.
    """
    if given.get("S3_ENDPOINT") and not (given.get("S3_ACCESS_KEY") and given.get("S3_SECRET_KEY")):
        raise StackError("S3_ENDPOINT is set, so S3_ACCESS_KEY and S3_SECRET_KEY must be, too")
    urls = {name: f"http://127.0.0.1:{ports[name]}" for name in SERVICES}
    ours = {
        "SECRET_KEY": secrets.secret_key,
        "IDENTITY_PUBLIC_KEY": secrets.identity_public_key,
        "IDENTITY_PRIVATE_KEY": secrets.identity_private_key,
        "ALGODOCK_NODE_ID": platform.node() or "node",
        "ALGODOCK_EMBEDDED": "true",
        "CALLBACK_ALLOW_PRIVATE": "true",
        "SERVICE_ROOT_DIR": str(folder.services_root),
        "PORT_RANGE": block.algorithms,
        "GATEWAY_URL": urls["gateway"],
        **servers,
    }
    chosen = {key: given.get(key) or value for key, value in ours.items()}
    fixed = {f"{name.upper().replace('-', '_')}_URL": url for name, url in urls.items() if name != "gateway"}
    return chosen | fixed | {"ALGODOCK_DATA_DIR": str(folder.path)}


def service_programs(
    ports: Mapping[str, int], decided: Mapping[str, str], given: Mapping[str, str], workers: int
) -> list[Program]:
    """Return the services' and workers' programs, each with its port; only the gateway's has the private key."""
    inherited = {key: value for key, value in given.items() if key not in _SESSION_VARIABLES}
    shared = inherited | dict(decided) | {"PYTHONUNBUFFERED": "1", "MALLOC_ARENA_MAX": "2"}
    shared["PATH"] = os.pathsep.join([given.get("PATH", os.defpath), str(Path(sys.executable).parent)])
    signing = {"IDENTITY_PRIVATE_KEY": shared.pop("IDENTITY_PRIVATE_KEY")}
    modules: dict[str, tuple[str, ...]] = {name: (package,) for name, (package, _) in SERVICES.items()}
    modules |= dict.fromkeys(worker_names(workers), ("algodock_runner", "worker"))
    return [
        Program(
            name=name,
            command=(sys.executable, "-P", "-m", *module),
            environment=shared | {"HTTP_PORT": str(ports[name])} | (signing if name == "gateway" else {}),
            directory=project_folder(),
        )
        for name, module in modules.items()
    ]
