"""What every server is, embedded or real: a program, the environment by which others find it, and a probe."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from algodock_cli.stack.programs import Program
from algodock_cli.stack.secret_store import Secrets

__all__ = ["OBJECTS_NICE", "VARIABLES", "MakeServer", "Server", "ServerContext", "embedded_servers"]

VARIABLES = {"postgres": "DATABASE_URL", "redis": "REDIS_URL", "kafka": "KAFKA_BOOTSTRAP", "objects": "S3_ENDPOINT"}
"""Each server's name (and module), and the variable that, when set, names a server to use in its stead."""

OBJECTS_NICE: Final = 8
"""How far the object store yields: 50 MB to be written would make calls and tasks wait, and hardly waits itself."""


@dataclass(frozen=True)
class ServerContext:
    """What a server is given: a folder of its own, the run folder, a port and the secrets."""

    folder: Path
    run_folder: Path
    port: int
    secrets: Secrets

    @property
    def http_address(self) -> str:
        """Where a server that speaks HTTP listens."""
        return f"http://127.0.0.1:{self.port}"

    def object_store(self) -> dict[str, str]:
        """Return the variables by which services find an object store here: its address and its keys."""
        return {
            "S3_ENDPOINT": self.http_address,
            "S3_PUBLIC_URL": self.http_address,
            "S3_ACCESS_KEY": self.secrets.s3_access_key,
            "S3_SECRET_KEY": self.secrets.s3_secret_key,
        }


class Server(Protocol):
    """One server that is run here."""

    name: str

    def prepare(self) -> None:
        """Make what the first start needs; does nothing later.

        Raises:
            ServerMissing: its program is not on this machine.
        """

    def program(self) -> Program:
        """Return the program to run."""

    def environment(self) -> dict[str, str]:
        """Return the variables by which services find it."""

    def is_ready(self) -> bool:
        """Say whether it answers now, as its own protocol says; takes a second at most."""


MakeServer = Callable[[ServerContext], Server]


def embedded_servers(environment: Mapping[str, str]) -> dict[str, MakeServer]:
    """Return the servers to embed by name: those for which the environment names no real one."""
    return {
        name: importlib.import_module(f"algodock_cli.stack.servers.{name}").embedded
        for name, variable in VARIABLES.items()
        if not environment.get(variable)
    }
