"""Fakes of the outside, held to the same contract tests as the real ones."""

from __future__ import annotations

import itertools
import json
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from algodock_common.errors import Conflict
from algodock_common.events import InstanceChanged
from algodock_common.identifiers import uuid7
from algodock_common.routing import RouteSnapshot
from algodock_deployer.clients.environments import Environment
from algodock_deployer.clients.node import Node
from algodock_deployer.clients.probes import Answer, Listener
from algodock_deployer.clients.processes import Seen
from algodock_deployer.clients.registry import Lease, LeaseRequest, Route
from algodock_deployer.clients.routers import RouterState
from algodock_deployer.clients.tools import BuildLog
from algodock_deployer.domain.programs import ProgramSpec
from algodock_deployer.domain.samples import Reply

__all__ = ["FakeEnvironments", "FakeNode", "FakeProber", "FakeProcesses", "FakeRegistry", "FakeRouters"]


@dataclass
class FakeProcesses:
    """Programs that run as soon as they are started; a test sets how one ends."""

    programs: dict[str, Seen] = field(default_factory=dict)
    specs: dict[str, ProgramSpec] = field(default_factory=dict)
    _pids: itertools.count[int] = field(default_factory=lambda: itertools.count(2**22 + 1))

    @property
    def holds(self) -> bool:
        """Return whether there are programs."""
        return bool(self.programs)

    def may_have(self, program: str) -> bool:
        """Return whether it has the program."""
        return program in self.programs

    async def ensure(self) -> bool:
        """It always runs."""
        return False

    async def close(self) -> None:
        """Nothing is held."""

    async def start(self, spec: ProgramSpec) -> None:
        """Run the program, unless it runs."""
        seen = self.programs.get(spec.program)
        if seen is None or not seen.alive:
            self.specs[spec.program] = spec
            self.programs[spec.program] = Seen(spec.program, "RUNNING", next(self._pids))

    async def look(self, program: str) -> Seen | None:
        """Return how the program stands."""
        return self.programs.get(program)

    async def look_all(self) -> Mapping[str, Seen]:
        """Return all programs."""
        return dict(self.programs)

    async def pause(self, program: str) -> None:
        """End the program."""
        if program in self.programs:
            self.programs[program] = Seen(program, "STOPPED")

    async def resume(self, program: str) -> None:
        """Run it again, as another process."""
        seen = self.programs.get(program)
        if seen is not None and not seen.alive:
            self.programs[program] = Seen(program, "RUNNING", next(self._pids))

    async def stop(self, program: str) -> None:
        """Forget the program."""
        self.programs.pop(program, None)


@dataclass
class FakeEnvironments:
    """Environments that are empty folders, one for each set of requirements."""

    root: Path
    built: list[tuple[str, ...]] = field(default_factory=list)
    error: Exception | None = None

    async def prepare(
        self, requirements: Sequence[str], python: str | None, *, sdk: bool, log: BuildLog
    ) -> Environment:
        """Make the folder, unless it is there."""
        if self.error is not None:
            raise self.error
        key = "-".join([*sorted(requirements), python or "", str(sdk)]) or "empty"
        folder = self.root / key
        reused = folder.exists()
        if not reused:
            folder.mkdir(parents=True)
            self.built.append(tuple(requirements))
            log.say(f"built {key}")
        return Environment(key, folder, reused=reused)


@dataclass
class FakeNode:
    """A Node.js that is there, with packages that install into an empty folder."""

    root: Path

    async def node(self, log: BuildLog) -> Node:
        """Return a Node.js."""
        log.say("node")
        return Node(Path("/usr/bin/node"), ("/usr/bin/npm",))

    async def packages(self, code: Path, log: BuildLog) -> Environment:
        """Return a folder with no packages in it."""
        log.say(f"packages of {code.name}")
        folder = self.root / "node-packages"
        reused = folder.exists()
        (folder / "node_modules" / ".bin").mkdir(parents=True, exist_ok=True)
        return Environment("node-packages", folder, reused=reused)


@dataclass
class FakeProber:
    """Instances that answer what a test says; healthy unless told otherwise."""

    answers: dict[str, Answer] = field(default_factory=dict)
    documents: dict[str, bytes] = field(default_factory=dict)
    bound: list[Listener] | None = None
    held: dict[int, str] = field(default_factory=dict)

    async def ask(self, url: str, *, timeout_s: float = 2) -> Answer:  # noqa: ARG002  # the Protocol's
        """Answer for a path, whatever the port."""
        return self.answers.get("/" + url.split("/", 3)[3], Answer(200))

    async def document(self, url: str) -> tuple[bytes, str] | None:
        """Return a document for a path."""
        found = self.documents.get("/" + url.split("/", 3)[3])
        return None if found is None else (found, "application/json")

    async def predict(self, base_url: str, body: bytes, *, timeout_s: float) -> Reply | str:  # noqa: ARG002  # as above
        """Answer every prediction with what was sent."""
        return Reply(200, 1.0, "application/json", is_json=True, document=json.loads(body))

    async def listeners(self, pid: int) -> Sequence[Listener] | None:  # noqa: ARG002  # the Protocol's
        """Return what a test says is bound."""
        return self.bound

    async def holder(self, host: str, port: int, *, token: str = "") -> str:  # noqa: ARG002  # the Protocol's
        """Return whom a test says has the port."""
        return self.held.get(port, "")


@dataclass
class FakeRegistry:
    """Leases free ports of this machine, ``next_ports`` first; instances drain at an epoch when a test says so."""

    leases: dict[UUID, LeaseRequest] = field(default_factory=dict)
    places: dict[UUID, Lease] = field(default_factory=dict)
    states: dict[UUID, tuple[str, int]] = field(default_factory=dict)
    epoch: int = 1
    error: Exception | None = None
    blocked: list[int] = field(default_factory=list)
    next_ports: list[int] = field(default_factory=list)

    async def lease(self, request: LeaseRequest) -> Lease:
        """Return a new instance on a port that nobody listens on."""
        if self.error is not None:
            raise self.error
        if request.pinned_port and any(place.port == request.pinned_port for place in self.places.values()):
            raise Conflict(f"port {request.pinned_port} is taken")
        port = request.pinned_port or (self.next_ports.pop(0) if self.next_ports else _free_port(request.host))
        instance_id = uuid7()
        made = Lease(
            instance_id, request.host, port, f"{request.protocol}://{request.host}:{port}", f"token-{instance_id.hex}"
        )
        self.leases[made.instance_id], self.places[made.instance_id] = request, made
        self.states[made.instance_id] = ("starting", self.epoch)
        return made

    async def release(self, instance_id: UUID, *, blocked: bool = False) -> None:
        """Forget an instance."""
        if blocked and instance_id in self.places:
            self.blocked.append(self.places[instance_id].port)
        for known in (self.leases, self.places, self.states):
            known.pop(instance_id, None)

    async def instances(self, algorithm: str, node_id: str) -> Sequence[Route]:
        """Return the instances of an algorithm on a node."""
        mine = [key for key, one in self.leases.items() if (one.algorithm, one.node_id) == (algorithm, node_id)]
        return [self._route(key) for key in mine]

    async def routes(self) -> tuple[int, Sequence[Route]]:
        """Return everything."""
        return self.epoch, [self._route(key) for key in self.leases]

    async def snapshot(self) -> RouteSnapshot:
        """Return everything as routers see it."""
        instances = []
        for key, asked in self.leases.items():
            place, (state, epoch) = self.places[key], self.states[key]
            instances.append(
                InstanceChanged.model_validate(
                    {
                        "instance_id": key, "algorithm_id": asked.algorithm_id, "algorithm": asked.algorithm,
                        "node_id": asked.node_id, "host": place.host, "port": place.port, "base_url": place.base_url,
                        "release_id": asked.release_id, "state": state, "limits": asked.limits, "epoch": epoch,
                    }
                )
            )  # fmt: skip
        return RouteSnapshot(epoch=self.epoch, instances=instances)

    def drain(self, instance_id: UUID) -> int:
        """Let an instance drain since a new epoch; return it."""
        self.epoch += 1
        self.states[instance_id] = ("draining", self.epoch)
        return self.epoch

    def _route(self, instance_id: UUID) -> Route:
        state, epoch = self.states[instance_id]
        return Route(instance_id, self.leases[instance_id].release_id, state, epoch)


@dataclass
class FakeRouters:
    """The routers that a test wants."""

    states: list[RouterState] = field(default_factory=list)

    async def look(self) -> Sequence[RouterState]:
        """Return them."""
        return list(self.states)


_ports = itertools.count(20_000 + os.getpid() * 37 % 10_000)
"""Below the range that the kernel takes for outgoing connections: those would take a port between test and start."""


def _free_port(host: str) -> int:
    for port in _ports:
        with socket.socket() as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise AssertionError("counting never ends")
