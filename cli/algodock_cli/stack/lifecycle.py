"""What ``up``, ``down``, ``status`` and ``reset`` do: one data folder's platform from nothing to healthy and back."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from algodock_cli.stack import algorithm_containers, algorithm_processes, algorithm_supervisor, ports, readiness
from algodock_cli.stack.data_folder import DataFolder
from algodock_cli.stack.errors import ServerNotReady, StackNotRunning
from algodock_cli.stack.programs import Program, write_private
from algodock_cli.stack.readiness import Readiness
from algodock_cli.stack.secret_store import Secrets
from algodock_cli.stack.servers import Server, ServerContext, embedded_servers
from algodock_cli.stack.services import (
    SERVICES,
    platform_environment,
    preferred_ports,
    service_programs,
    worker_names,
)
from algodock_cli.stack.supervisor import Supervisor

__all__ = ["Access", "Health", "Stack"]

_HEALTHY_S = 120.0
_POLL_S = 0.1
_KEPT_BY_RESET = frozenset({"lock", "real", "setup.lock", "tools"})  # locks are held; the rest is the checkout's
_SETTINGS = ("ALGODOCK_", "CALLBACK_", "DATABASE_", "GATEWAY_URL", "IDENTITY_", "KAFKA_", "LOG_", "OTEL_", "PORT_RANGE",
             "PUBLIC_URL", "REDIS_", "S3_", "SECRET_KEY", "SERVICE_ROOT_DIR")  # fmt: skip
"""Variables of the person's environment that change how the platform runs."""

Progress = Callable[[str], None]
"""Is told each step in a line."""


@dataclass(frozen=True)
class Access:
    """How to reach the running platform: what ``up --json`` prints."""

    url: str
    api_key: str
    callback_secret: str
    kafka: str
    s3_url: str
    data_dir: str


@dataclass(frozen=True)
class Health:
    """One program of the platform, as ``status`` shows it."""

    name: str
    state: str
    ready: bool
    pid: int
    port: int
    uptime_s: float
    said: str


class Stack:
    """The platform of one data folder."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Find the data folder that the environment means; nothing is started yet."""
        self._given = dict(environment)
        self.folder = DataFolder.here(environment)
        self._supervisor = Supervisor(self.folder)

    def up(self, *, workers: int | None = None, progress: Progress) -> Access:
        """Start what does not run and wait until everything is ready.

        A platform that runs as it is asked for now is left alone; one that runs with other settings,
        or whose supervisord was killed, is ended and started anew. With another number of
        ``workers`` (None: as many as the last time, one at first) only workers start or stop.

        Raises:
            StackBusy: another command works on the data folder.
            ServerNotReady: something did not become ready in two minutes; the message has its log's tail.
            StackError: something is missing on this machine; the message says what to do.
        """
        with self.folder.held():
            noted = self._noted()
            workers = workers or len(noted.get("workers", ())) or 1
            if self._runs_as_wanted(noted):
                if worker_names(workers) != noted["workers"]:
                    noted = self._scale(workers, noted, progress)
            else:
                if self._supervisor.process():
                    progress("ends the platform that runs with other settings")
                    self._supervisor.stop(noted.get("workers", ()))
                elif left := self._supervisor.end_leftovers():
                    progress(f"ended what a killed supervisord left: {', '.join(left)}")
                noted = self._start(workers, noted.get("ports", {}), progress)
            self._wait_healthy(noted, progress)
            return self._access(noted)

    def down(self, *, keep_algorithms: bool, progress: Progress) -> bool:
        """Stop everything of this data folder; return whether anything ran.

        Raises:
            StackBusy: another command works on the data folder.
        """
        with self.folder.held():
            ran = self._supervisor.process() is not None
            if ran:
                progress("stops services and servers")
            self._supervisor.stop(self._noted().get("workers", ()))
            if not keep_algorithms and algorithm_supervisor.end_programs(self.folder.algorithms):
                progress("stopped the algorithms under your supervisord")
                ran = True
            if not keep_algorithms and algorithm_processes.end_all(self.folder.algorithms, self._services_root()):
                progress("stopped the algorithms")
                ran = True
            if not keep_algorithms and algorithm_containers.end_containers(self.folder.algorithms / "docker"):
                progress("stopped the algorithms' containers")
                ran = True
            return ran

    def reset(self, *, progress: Progress) -> None:
        """Stop everything and delete the data folder with all that lies in it."""
        self.down(keep_algorithms=False, progress=progress)
        with self.folder.held():
            ports.release_block(self.folder.path)
            shutil.rmtree(self.folder.socket("supervisord.sock").parent, ignore_errors=True)
            for inside in self.folder.path.iterdir():
                if inside.name in _KEPT_BY_RESET:
                    continue
                shutil.rmtree(inside) if inside.is_dir() and not inside.is_symlink() else inside.unlink()
            progress(f"deleted what lay in {self.folder.path}")

    def health(self) -> list[Health]:
        """Return every program with its state and what it says of itself.

        Raises:
            StackNotRunning: no supervisord runs for this data folder.
        """
        if self._supervisor.process() is None:
            raise StackNotRunning(f"nothing runs for {self.folder.path}; `algodock up` starts it")
        places: dict[str, int] = self._noted().get("ports", {})
        states = self._supervisor.states()
        servers = {
            server.name: server for server in self._servers(places, Secrets.load_or_make(self.folder.secrets_file))
        }

        def ask(name: str) -> Readiness:
            if name in servers:
                ready = servers[name].is_ready()
                return Readiness(ready=ready, said="" if ready else "no answer")
            return readiness.ask(places[name])

        with ThreadPoolExecutor(max_workers=8) as pool:
            answers = list(pool.map(ask, [state.name for state in states]))
        return [
            Health(
                name=state.name,
                state=state.state.lower(),
                ready=answer.ready,
                pid=state.pid,
                port=places.get(state.name, 0),
                uptime_s=round(state.uptime_s, 1) if state.pid else 0.0,
                said=answer.said,
            )
            for state, answer in zip(states, answers, strict=True)
        ]

    def access(self) -> Access:
        """Return how to reach the platform.

        Raises:
            StackNotRunning: it was not started, or has not made its first key yet.
        """
        return self._access(self._noted())

    def _start(self, workers: int, remembered: Mapping[str, int], progress: Progress) -> dict[str, Any]:
        block = ports.lease_block(self.folder.path)
        preferred = preferred_ports(block, list(embedded_servers(self._given)), workers)
        kept = {name: remembered.get(name, port) for name, port in preferred.items()}
        places = ports.pick_ports(kept, block.platform)
        servers = self._servers(places, Secrets.load_or_make(self.folder.secrets_file))
        for server in servers:
            server.prepare()
        groups, noted = self._declared(workers, block, places, servers)
        progress(f"starts {', '.join(places)}")
        self._supervisor.start(groups)
        return self._note(noted | {"ports": {**remembered, **places}})

    def _scale(self, workers: int, noted: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
        """Start the workers that are missing, or let those that are too many hand back what they run."""
        block = ports.lease_block(self.folder.path)
        known: dict[str, int] = noted["ports"]
        preferred = preferred_ports(block, list(embedded_servers(self._given)), workers)
        new = {name: known.get(name, preferred[name]) for name in worker_names(workers) if name not in noted["workers"]}
        places = {name: known[name] for name in preferred if name not in new} | ports.pick_ports(new, block.platform)
        servers = self._servers(places, Secrets.load_or_make(self.folder.secrets_file))
        groups, changed = self._declared(workers, block, places, servers)
        progress(f"goes from {len(noted['workers'])} to {workers} workers")
        self._supervisor.change(groups)
        return self._note(changed | {"ports": {**known, **places}})

    def _declared(
        self, workers: int, block: ports.PortBlock, places: Mapping[str, int], servers: list[Server]
    ) -> tuple[dict[str, list[Program]], dict[str, Any]]:
        """Return the groups of programs, each worker one of its own, and what is noted of them."""
        secrets = Secrets.load_or_make(self.folder.secrets_file)
        theirs = {key: value for server in servers for key, value in server.environment().items()}
        decided = platform_environment(self.folder, secrets, block, places, theirs, self._given)
        programs = service_programs(places, decided, self._given, workers)
        groups = {
            "servers": [server.program() for server in servers],
            "services": [program for program in programs if program.name in SERVICES],
            **{program.name: [program] for program in programs if program.name not in SERVICES},
        }
        environment = self._given | decided
        return {name: programs for name, programs in groups.items() if programs}, {
            "services": list(SERVICES),
            "workers": worker_names(workers),
            "wanted": self._wanted(),
            "url": environment["GATEWAY_URL"],
            "kafka": environment["KAFKA_BOOTSTRAP"],
            "s3_url": environment.get("S3_PUBLIC_URL") or environment["S3_ENDPOINT"],
        }

    def _note(self, noted: dict[str, Any]) -> dict[str, Any]:
        write_private(self.folder.ports_file, json.dumps(noted, indent=1))
        return noted

    def _services_root(self) -> Path:
        return Path(self._given.get("SERVICE_ROOT_DIR") or self.folder.services_root)

    def _servers(self, places: Mapping[str, int], secrets: Secrets) -> list[Server]:
        return [
            make(
                ServerContext(
                    folder=self.folder.servers / name, run_folder=self.folder.run, port=places[name], secrets=secrets
                )
            )
            for name, make in embedded_servers(self._given).items()
            if name in places
        ]

    def _noted(self) -> dict[str, Any]:
        try:
            noted: dict[str, Any] = json.loads(self.folder.ports_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return noted

    def _wanted(self) -> str:
        """Return what tells one way to run the platform from another: the settings that are named."""
        named = sorted((key, value) for key, value in self._given.items() if key.startswith(_SETTINGS))
        return sha256(json.dumps(named).encode()).hexdigest()

    def _runs_as_wanted(self, noted: Mapping[str, Any]) -> bool:
        return self._supervisor.process() is not None and noted.get("wanted") == self._wanted()

    def _wait_healthy(self, noted: Mapping[str, Any], progress: Progress) -> None:
        began = time.monotonic()
        waiting: list[str] = [*noted["services"], *noted["workers"]]
        said: dict[str, str] = {}
        while True:
            for name in list(waiting):
                answer = readiness.ask(noted["ports"][name])
                said[name] = answer.said
                if answer.ready:
                    waiting.remove(name)
                    progress(f"{name} ready after {time.monotonic() - began:.1f} s")
            if not waiting:
                return
            if time.monotonic() - began > _HEALTHY_S or self._supervisor.process() is None:
                tails = "\n".join(f"{name} {said[name]}; its log ends:\n{self._tail(name)}" for name in waiting)
                raise ServerNotReady(f"not ready after {time.monotonic() - began:.0f} s:\n{tails}")
            time.sleep(_POLL_S)

    def _tail(self, name: str, lines: int = 15) -> str:
        try:
            text = (self.folder.logs / f"{name}.log").read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return "  (it wrote nothing)"
        return "\n".join(f"  {line}" for line in text.splitlines()[-lines:])

    def _access(self, noted: Mapping[str, Any]) -> Access:
        try:
            first_key = json.loads(self.folder.credentials_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise StackNotRunning(f"{self.folder.path} holds no API key yet; `algodock up` makes it") from None
        return Access(
            url=noted["url"],
            api_key=first_key["api_key"],
            callback_secret=first_key["callback_secret"],
            kafka=noted["kafka"],
            s3_url=noted["s3_url"],
            data_dir=str(self.folder.path),
        )
