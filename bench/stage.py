"""The platform that is measured: the one that ALGODOCK_URL names, or one of our own in a folder that goes away."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from wire import Answer, Connection, request_bytes

from algodock_cli.real.servers import RealServers, real_servers
from algodock_cli.stack.programs import Process

__all__ = ["Platform", "Program", "platform"]

PROJECT = pathlib.Path(__file__).resolve().parent.parent
_SERVERS = frozenset({"postgres", "redis", "kafka", "objects"})


@dataclass(frozen=True, slots=True)
class Program:
    """One process of the platform."""

    name: str
    pid: int

    @property
    def is_server(self) -> bool:
        """Say whether it is an embedded server, and no service or worker."""
        return self.name in _SERVERS


@dataclass(frozen=True, slots=True)
class Platform:
    """How to reach it; ``up_*_s`` are None for one that was there already.

    ``up_fresh_s``: the first start of an empty data folder; ``up_warm_s``: the start after that. ``servers``: the
    folder of the real servers below it, None for embedded ones.
    """

    url: str
    api_key: str
    up_fresh_s: float | None
    up_warm_s: float | None
    environment: dict[str, str]
    servers: pathlib.Path | None = None

    @property
    def headers(self) -> dict[str, str]:
        """Return what every call carries."""
        return {"authorization": f"Bearer {self.api_key}", "content-type": "application/json"}

    def call(self, method: str, path: str, body: object = None) -> Answer:
        """Make one call on a connection of its own."""
        content = b"" if body is None else json.dumps(body).encode()
        with Connection(self.url) as connection:
            return connection.send(request_bytes(method, self.url, path=path, headers=self.headers, body=content))

    def programs(self) -> list[Program]:
        """Return the platform's processes; none when it does not run on this machine."""
        told = _algodock(self.environment, "status", "--json", check=False)
        try:
            programs = json.loads(told)["programs"]
        except (ValueError, KeyError):
            return []
        found = [Program(one["name"], one["pid"]) for one in programs if one["pid"]]
        return found + ([] if self.servers is None else _servers_in(self.servers))


def _servers_in(folder: pathlib.Path) -> list[Program]:
    running = {name: Process.from_file(folder / "run" / "pids" / f"{name}.json") for name in sorted(_SERVERS)}
    return [Program(name, process.pid) for name, process in running.items() if process]


def _algodock(environment: dict[str, str], *arguments: str, check: bool = True) -> str:
    command = [sys.executable, "-m", "algodock_cli", *arguments]
    ended = subprocess.run(command, cwd=PROJECT, env=environment, check=check, stdout=subprocess.PIPE, text=True)
    return ended.stdout


def _up(environment: dict[str, str], workers: int) -> tuple[dict[str, Any], float]:
    started = time.perf_counter()
    told = _algodock(environment, "up", "--json", "--workers", str(workers))
    return json.loads(told.strip().splitlines()[-1]), time.perf_counter() - started


@contextmanager
def platform(*, workers: int = 1, real: bool = False) -> Iterator[Platform]:
    """Give a platform; one of our own is started twice (the second start is the warm one) and removed at the end.

    With ``real`` it stands on Apache Kafka, MinIO, PostgreSQL and Redis that begin empty and are stopped at the end.
    """
    if os.environ.get("ALGODOCK_URL"):
        yield Platform(os.environ["ALGODOCK_URL"], os.environ["ALGODOCK_API_KEY"], None, None, dict(os.environ))
        return
    if not real:
        with _own(workers, {}, None) as stage:
            yield stage
        return
    servers = PROJECT / ".algodock" / "real-bench"
    with (
        real_servers({}, RealServers(servers), progress=lambda step: print(f"bench: {step}", file=sys.stderr)) as named,
        _own(workers, named, servers) as stage,
    ):
        yield stage


def _end(*_: object) -> None:
    raise SystemExit(128 + signal.SIGTERM)


@contextmanager
def _own(workers: int, named: dict[str, str], servers: pathlib.Path | None) -> Iterator[Platform]:
    signal.signal(signal.SIGTERM, _end)  # a measurement that is told to end takes its platform away, too
    folder = pathlib.Path(tempfile.mkdtemp(prefix="algodock-bench-"))
    folder.chmod(0o755)  # algorithms run as another user
    environment = os.environ | named | {"ALGODOCK_DATA_DIR": str(folder / "data")}
    try:
        _, fresh_s = _up(environment, workers)
        _algodock(environment, "down")
        told, warm_s = _up(environment, workers)
        yield Platform(told["url"], told["api_key"], fresh_s, warm_s, environment, servers)
    finally:
        _algodock(environment, "down", check=False)
        shutil.rmtree(folder, ignore_errors=True)
