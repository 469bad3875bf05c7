"""The four real servers under a supervisord of their own: for tests, so they begin empty each time they are started."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from algodock_cli.real import installs
from algodock_cli.real.kafka import ApacheKafka
from algodock_cli.real.minio import Minio
from algodock_cli.stack.data_folder import DataFolder, project_folder
from algodock_cli.stack.errors import ServerMissing, ServerNotReady
from algodock_cli.stack.ports import temporary_port
from algodock_cli.stack.programs import write_private
from algodock_cli.stack.secret_store import Secrets
from algodock_cli.stack.servers import VARIABLES, Server, ServerContext
from algodock_cli.stack.servers.postgres import Distribution, PostgresServer
from algodock_cli.stack.servers.probes import kafka_answers, postgres_answers, redis_answers, s3_answers
from algodock_cli.stack.servers.redis import RedisServer
from algodock_cli.stack.supervisor import Supervisor

__all__ = ["RealServers", "named_servers", "real_servers"]

_READY_S = 60.0
_POLL_S = 0.1
_PROBES: dict[str, Callable[[str], bool]] = {
    "postgres": postgres_answers,
    "redis": redis_answers,
    "kafka": kafka_answers,
    "objects": s3_answers,
}

Progress = Callable[[str], None]


class RealServers:
    """Apache Kafka, MinIO, PostgreSQL and Redis below ``.algodock/real`` of the checkout, or below another folder."""

    def __init__(self, path: Path | None = None) -> None:
        """Name the folder; nothing is installed or started yet."""
        home = project_folder() / ".algodock" / "real"
        self._folder = DataFolder.at(path or home)
        self._tools = home / "tools"  # of every set
        self._supervisor = Supervisor(self._folder)
        self._environment_file = self._folder.run / "environment.json"

    @property
    def running(self) -> bool:
        """Whether they run."""
        return self._supervisor.process() is not None

    def up(self, progress: Progress) -> dict[str, str]:
        """Install what is missing, start all four empty and return the environment that names them.

        Those that run already are left as they are.

        Raises:
            ServerMissing: a program is not here and cannot be installed.
            ServerNotReady: one did not answer within a minute.
        """
        with self._folder.held():
            if self.running:
                running: dict[str, str] = json.loads(self._environment_file.read_text(encoding="utf-8"))
                return running
            self._supervisor.end_leftovers()
            shutil.rmtree(self._folder.servers, ignore_errors=True)
            servers = self._servers(progress)
            for server in servers:
                server.prepare()
            progress(f"starts {', '.join(server.name for server in servers)}")
            self._supervisor.start({"servers": [server.program() for server in servers]})
            self._wait_ready(servers, progress)
            environment = {key: value for server in servers for key, value in server.environment().items()}
            write_private(self._environment_file, json.dumps(environment, indent=1))
            return environment

    def down(self) -> bool:
        """Stop them; return whether they ran."""
        with self._folder.held():
            ran = self.running
            self._supervisor.stop()
            return ran

    def _servers(self, progress: Progress) -> list[Server]:
        secrets = Secrets.load_or_make(self._folder.secrets_file)
        taken: set[int] = set()

        def context(name: str) -> ServerContext:
            return ServerContext(
                folder=self._folder.servers / name,
                run_folder=self._folder.run,
                port=temporary_port(taken),
                secrets=secrets,
            )

        java = installs.machine_program("java", "default-jre-headless", progress)
        return [
            PostgresServer(context("postgres"), Distribution(installs.postgres_binaries(progress))),
            RedisServer(context("redis"), installs.machine_program("redis-server", "redis-server", progress)),
            ApacheKafka(context("kafka"), java, installs.kafka_jars(self._tools, progress), temporary_port(taken)),
            Minio(context("objects"), installs.minio_binary(self._tools, progress)),
        ]

    def _wait_ready(self, servers: list[Server], progress: Progress) -> None:
        end = time.monotonic() + _READY_S
        waiting = list(servers)
        while waiting:
            for server in list(waiting):
                if server.is_ready():
                    waiting.remove(server)
                    progress(f"{server.name} ready")
            if waiting and time.monotonic() > end:
                names = ", ".join(server.name for server in waiting)
                raise ServerNotReady(f"{names}: no answer in {_READY_S:.0f} s; see {self._folder.logs}")
            time.sleep(_POLL_S)


def named_servers(environment: Mapping[str, str]) -> bool:
    """Say whether the environment names all four servers (and they answer), or none of them.

    Raises:
        ServerMissing: it names some only, or one that does not answer.
    """
    missing = [variable for variable in VARIABLES.values() if not environment.get(variable)]
    if len(missing) == len(VARIABLES):
        return False
    if missing:
        raise ServerMissing(f"real servers are named in part: {', '.join(missing)} is not set")
    silent = [name for name, variable in VARIABLES.items() if not _PROBES[name](environment[variable])]
    if silent:
        raise ServerMissing(f"named, but no answer from: {', '.join(silent)}")
    return True


@contextmanager
def real_servers(
    environment: Mapping[str, str], servers: RealServers | None = None, *, progress: Progress
) -> Iterator[dict[str, str]]:
    """Give the variables that name real servers: the environment's own, or of those started here for the while.

    Servers that run already, as those of `algodock real up`, are used, and left running.

    Raises:
        ServerMissing: one is named and does not answer, or cannot be had here.
    """
    if named_servers(environment):
        yield {}
        return
    servers = servers or RealServers()
    ours = not servers.running
    named = servers.up(progress)
    try:
        yield named
    finally:
        if ours:
            servers.down()
